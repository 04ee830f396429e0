import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

// The one door to the browser: tests and pictures of the console use the system's Chromium.

/** Where Debian and Ubuntu install it. */
export const CHROMIUM_PATH = '/usr/bin/chromium';

/** Whether this machine has the browser. */
export function hasChromium(): boolean {
  return existsSync(CHROMIUM_PATH);
}

/** Starts Chromium without a window. Close it, or hold it with `await using`. */
export function openBrowser(): ReturnType<typeof chromium.launch> {
  return chromium.launch({ executablePath: CHROMIUM_PATH, args: ['--no-sandbox', '--disable-gpu'] });
}
