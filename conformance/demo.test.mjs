// The demo of cmd/pond in a browser: two windows, both transports, and a server that restarts.
//
// POND_BIN is the program. Without it, the test builds the program from this repository.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import test, { after, before, beforeEach, afterEach } from 'node:test';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('..', import.meta.url));
const artifacts = join(root, 'artifacts');
const scratch = mkdtempSync(join(tmpdir(), 'pond-demo-'));

let program = process.env.POND_BIN;
let browser;
let server;
let url;
let windows;

before(async () => {
  mkdirSync(artifacts, { recursive: true });
  if (!program) {
    program = join(scratch, 'pond');
    execFileSync('go', ['build', '-o', program, './cmd/pond'], { cwd: root, stdio: 'inherit' });
  }
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-gpu',
      '--disable-quic',
      '--disable-sync',
      '--no-first-run',
      '--no-sandbox',
    ],
  });
});

after(async () => {
  await browser?.close();
  rmSync(scratch, { recursive: true });
});

beforeEach(async () => {
  windows = [];
  await start('127.0.0.1:0');
});

afterEach(async () => {
  for (const window of windows) await window.context().close();
  await stop();
  // Failed connections are expected, because some tests stop the server.
  const errors = windows.flatMap(({ log }) => log.filter((line) => !line.includes('net::ERR_')));
  assert.deepEqual(errors, [], 'errors on the console');
});

async function start(addr) {
  server = spawn(program, ['demo', '-addr', addr], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(createInterface(server.stdout), 'line');
  url = line.match(/^pond demo: (http:\S+) \(Ctrl\+C stops\)$/)[1];
}

async function stop() {
  const exit = once(server, 'exit');
  server.kill('SIGTERM');
  const [code] = await exit;
  assert.equal(code, 0, 'exit code');
}

// open opens the page with a name, in a new browser context.
async function open(name, { hash = '', ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...options });
  await context.addInitScript((name) => localStorage.setItem('name', name), name);
  const page = await context.newPage();
  page.log = [];
  page.on('pageerror', (error) => page.log.push(`${name}: ${error.stack}`));
  page.on('console', (message) => message.type() === 'error' && page.log.push(`${name}: ${message.text()}`));
  windows.push(page);
  await page.goto(url + hash);
  await connected(page);
  return page;
}

const connected = (page) => page.locator('#status[data-state=connected]').waitFor();
const people = (page, count) => page.locator('#count', { hasText: `${count} here` }).waitFor();
const said = (page, text) => page.locator('#log .text', { hasText: text }).waitFor();
const texts = (page) => page.locator('#log .text').allTextContents();
const shot = (page, name) => page.screenshot({ path: join(artifacts, `demo-${name}.png`) });

async function say(page, text) {
  await page.getByLabel('Message', { exact: true }).fill(text);
  await page.keyboard.press('Enter');
}

async function twoWindows(options) {
  const [ann, bob] = [await open('Ann', options), await open('Bob')];
  await people(ann, 2);
  return [ann, bob];
}

test('two windows exchange messages, and see each other join, type, rename and leave', async () => {
  const ann = await open('Ann');
  await ann.getByText('Open this page in a second window').waitFor();
  await shot(ann, 'empty');

  const bob = await open('Bob');
  await ann.getByText('Bob joined').waitFor();
  assert.deepEqual(await ann.locator('#people bdi').allTextContents(), ['Ann', 'Bob']);
  assert.equal(await ann.locator('#rooms [aria-current] small').textContent(), '2');

  await say(ann, 'Good morning, pond!');
  await said(bob, 'Good morning, pond!');
  await say(bob, '<img src=x onerror="document.title=1"> & <b>text</b> stays text');
  await said(ann, '<img src=x');
  assert.equal(await ann.locator('#log img, #log b').count(), 0);
  assert.equal(await ann.locator('.message.mine').count(), 1);

  await bob.getByLabel('Message', { exact: true }).pressSequentially('I am about to');
  await ann.locator('#typing.shown', { hasText: 'Bob is typing' }).waitFor();
  await shot(ann, 'light');
  await ann.emulateMedia({ colorScheme: 'dark' });
  await shot(ann, 'dark');

  await bob.getByLabel('Your name').fill('Robert');
  await bob.keyboard.press('Enter');
  await ann.getByText('Bob is now Robert').waitFor();

  const carol = await open('Carol'); // joins later
  await said(carol, 'Good morning, pond!');
  await carol.close();

  await bob.close();
  await people(ann, 1);
  await ann.getByText('Robert left').waitFor();
});

test('a window keeps its name and its messages after a reload, and a second window has another name', async () => {
  const ann = await open('Ann');
  await say(ann, 'hello');
  await said(ann, 'hello');
  await ann.reload();
  await ann.locator('#log .mine', { hasText: 'hello' }).waitFor();

  const twin = await ann.context().newPage();
  await twin.goto(url);
  await people(ann, 2);
  assert.equal(await ann.getByLabel('Your name').inputValue(), 'Ann');
  assert.notEqual(await twin.getByLabel('Your name').inputValue(), 'Ann');
});

test('a rejected message is marked, and can be sent again', async () => {
  const ann = await open('Ann');
  await ann.getByLabel('Message', { exact: true }).evaluate((field) => field.removeAttribute('maxlength'));
  await say(ann, 'x'.repeat(2001));
  await ann.getByText('a message must have 1 to 2000 characters').waitFor();
  await shot(ann, 'rejected');
  await ann.getByRole('button', { name: 'Retry', exact: true }).click();
  await ann.getByText('a message must have 1 to 2000 characters').waitFor();
  assert.equal(await ann.locator('.message').count(), 1);
});

test('rooms are separate and listed, and their names are checked by the page and by the server', async () => {
  const [ann, bob] = await twoWindows();
  const newRoom = ann.getByLabel('Name of a new room');
  for (const [name, problem] of [
    ['a/b?c%d', '/ ? % cannot be in a name'],
    ['x'.repeat(33), '33 characters are too many'],
  ]) {
    await newRoom.fill(name);
    await ann.keyboard.press('Enter');
    await ann.locator('#new-room-error', { hasText: problem }).waitFor();
    assert.equal(await newRoom.inputValue(), name);
  }
  await newRoom.fill('Deep Water');
  assert.equal(await ann.locator('#new-room-error').textContent(), '');
  await ann.keyboard.press('Enter');
  await people(bob, 1);
  await ann.locator('textarea:focus').waitFor();
  await bob.getByRole('link', { name: 'deep-water' }).click();
  await people(ann, 2);
  assert.match(bob.url(), /#deep-water$/);

  await bob.goto(`${url}#no%20room`);
  await bob.getByText(/the name of a room must have 1 to 32 letters/i).waitFor();
  assert.equal(await bob.getByRole('button', { name: 'Try again' }).count(), 0);
  await bob.getByRole('link', { name: 'Go to the lounge' }).click();
  await people(bob, 1);
});

test('a window changes its transport and keeps its room', async () => {
  const [ann, bob] = await twoWindows();
  for (const name of ['SSE', 'WebSocket']) {
    await ann.getByText(name, { exact: true }).click();
    await ann.locator('#foot', { hasText: `Connected over ${name}` }).waitFor();
    for (let i = 0; i < 5; i++) await say(ann, `${name} ${i}`);
    await said(bob, `${name} 4`);
    await say(bob, `back to ${name}`);
    await said(ann, `back to ${name}`);
  }
  const order = ['SSE', 'WebSocket'].flatMap((name) => [...Array(5).keys()].map((i) => `${name} ${i}`).concat(`back to ${name}`));
  assert.deepEqual(await texts(bob), order);
  assert.equal(await bob.getByText('Ann left').count(), 0);
});

test('an empty room says that the page waits for the server', async () => {
  const ann = await open('Ann', { viewport: { width: 360, height: 740 } });
  await people(ann, 1);
  await stop();
  await ann.getByText('Waiting for the server').waitFor();
  await shot(ann, 'phone-away');
  await start(new URL(url).host);
  await connected(ann);
  await ann.getByText('Open this page in a second window').waitFor();
});

test('after a restart of the server, all windows are back and no message is lost', async () => {
  const [ann, bob] = await twoWindows();
  await bob.getByText('SSE', { exact: true }).click();
  await connected(bob);
  await say(ann, 'before');
  await said(bob, 'before');

  await stop();
  for (const page of [ann, bob]) await page.getByText('The connection was lost').first().waitFor();
  await say(ann, 'one');
  await say(ann, 'two');
  await say(bob, 'three');
  assert.equal(await ann.locator('#pending .message').count(), 2);
  await ann.getByText('Waiting for the connection').last().waitFor();
  await shot(ann, 'away');

  await start(new URL(url).host);
  for (const page of [ann, bob]) {
    await page.getByRole('button', { name: 'Retry now' }).click({ timeout: 500 }).catch(() => {}); // or it is connected already
    await connected(page);
  }
  for (const text of ['one', 'two', 'three']) for (const page of [ann, bob]) await said(page, text);
  for (const page of [ann, bob]) {
    assert.deepEqual((await texts(page)).filter((text) => text !== 'three'), ['before', 'one', 'two']);
    assert.equal(await page.locator('#pending .message').count(), 0);
    await people(page, 2);
  }
});

test('the page fits a phone, and can be used with the keyboard', async () => {
  const [ann, bob] = await twoWindows({ viewport: { width: 360, height: 740 }, reducedMotion: 'reduce' });
  await say(bob, 'a-word-that-is-far-too-long-for-a-phone-'.repeat(5));
  await said(ann, 'a-word');
  await say(ann, 'It fits.');
  await said(ann, 'It fits.');
  assert.equal(await ann.evaluate(() => document.documentElement.scrollWidth), 360);
  await shot(ann, 'phone');

  await ann.getByRole('button', { name: 'Rooms and people' }).focus();
  await ann.keyboard.press('Enter');
  await ann.locator('#close-side:focus').waitFor();
  await ann.locator('#people', { hasText: 'Bob' }).waitFor();
  await shot(ann, 'phone-people');
  await ann.keyboard.press('Escape');
  await ann.locator('#open-side:focus').waitFor();
});
