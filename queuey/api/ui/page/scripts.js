// The scripts that the page loads later. Trusted Types let no other text become a script.

const SCRIPTS = ['pulse-worker.js', 'vendor/uplot.js'];

/** @param {string} url */
function known(url) {
  if (!SCRIPTS.includes(url)) throw new TypeError(`${url} is no script of this page`);
  return url;
}

const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('queuey', {createScriptURL: known});

/** The URL of one of them, as the browser takes it. @param {string} url @returns {any} */
export const scriptUrl = (url) => (policy ? policy.createScriptURL(url) : known(url));
