// JSON shown by its own text: numbers above 2 ** 53, 1e400 and the order of keys stay as they were sent.

const BLANK = ' \t\n\r';

/** The end of the value that begins here. @param {string} text @param {number} at */
function endOf(text, at) {
  if (text[at] === '"') return endOfString(text, at);
  if (text[at] !== '{' && text[at] !== '[') {
    while (at < text.length && !',]}'.includes(text[at]) && !BLANK.includes(text[at])) at++;
    return at;
  }
  for (let depth = 0; at < text.length; at++) {
    if (text[at] === '"') at = endOfString(text, at) - 1;
    else if (text[at] === '{' || text[at] === '[') depth++;
    else if ((text[at] === '}' || text[at] === ']') && --depth === 0) return at + 1;
  }
  return at;
}

/** @param {string} text @param {number} at */
function endOfString(text, at) {
  for (at++; at < text.length && text[at] !== '"'; at++) if (text[at] === '\\') at++;
  return at + 1;
}

/** @param {string} text @param {number} at */
function skipBlank(text, at) {
  while (at < text.length && BLANK.includes(text[at])) at++;
  return at;
}

/** The texts of the values of an object, by their keys. @param {string} text @returns {Record<string, string>} */
export function fieldsOf(text) {
  /** @type {Record<string, string>} */
  const fields = {};
  let at = skipBlank(text, skipBlank(text, 0) + 1);
  while (at < text.length && text[at] === '"') {
    const end = endOfString(text, at);
    const begin = skipBlank(text, skipBlank(text, end) + 1);
    const close = endOf(text, begin);
    fields[JSON.parse(text.slice(at, end))] = text.slice(begin, close);
    at = skipBlank(text, close);
    if (text[at] === ',') at = skipBlank(text, at + 1);
  }
  return fields;
}

/** The text with lines and indents. @param {string} text */
export function indented(text) {
  const lines = [];
  let line = '';
  let depth = 0;
  const wrap = () => {
    lines.push(line);
    line = '  '.repeat(depth);
  };
  for (let at = skipBlank(text, 0); at < text.length; at = skipBlank(text, at)) {
    const char = text[at];
    if (char === '{' || char === '[') {
      const next = skipBlank(text, at + 1);
      if (text[next] === '}' || text[next] === ']') {
        line += char + text[next];
        at = next + 1;
        continue;
      }
      line += char;
      depth++;
      wrap();
    } else if (char === '}' || char === ']') {
      depth--;
      wrap();
      line += char;
    } else if (char === ',') {
      line += char;
      wrap();
    } else if (char === ':') line += ': ';
    else {
      const end = endOf(text, at);
      line += text.slice(at, end);
      at = end;
      continue;
    }
    at++;
  }
  lines.push(line);
  return lines.join('\n');
}

/** Control characters and those that change the direction of text, as in the log. @param {string} text */
export const visible = (text) =>
  text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, (char) =>
    `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
