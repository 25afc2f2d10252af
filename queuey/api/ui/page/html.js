// Preact with htm: every view takes its tools from here.

import {h, render} from './vendor/preact.js';
import {useCallback, useEffect, useMemo, useRef, useState} from './vendor/hooks.js';
import htm from './vendor/htm.js';

export const html = htm.bind(h);
export {render, useCallback, useEffect, useMemo, useRef, useState};
