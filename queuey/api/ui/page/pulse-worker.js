// One stream of frames for all tabs of this browser. It closes 5 s after the last tab has left.

const LEAVE_MS = 5000;
const ports = new Set();
let source = null;
let last = null;
let closing;

function open() {
  if (source) return;
  source = new EventSource('../v1/pulse');
  for (const kind of ['pulse', 'gone']) {
    source.addEventListener(kind, (event) => {
      last = [kind, event.data];
      for (const port of ports) port.postMessage(last);
    });
  }
}

function close() {
  source?.close();
  source = last = null;
}

globalThis.onconnect = (event) => {
  const [port] = event.ports;
  port.onmessage = (message) => {
    if (message.data === 'on') {
      clearTimeout(closing);
      ports.add(port);
      open();
      if (last) port.postMessage(last);
    } else {
      ports.delete(port);
      if (!ports.size) closing = setTimeout(close, LEAVE_MS);
    }
  };
  port.start();
};
