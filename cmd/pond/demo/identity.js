// Who this window is: a name that lasts, and the ids under which it has spoken.

const ADJECTIVES = ["Quick", "Calm", "Bright", "Gentle", "Brave", "Merry", "Quiet", "Lucky", "Witty", "Sunny", "Clever", "Mellow"];
const ANIMALS = ["Otter", "Heron", "Newt", "Dragonfly", "Kingfisher", "Turtle", "Beaver", "Swan", "Minnow", "Frog", "Teal", "Perch"];

/** The hue, in degrees, that stands for a name in every window. */
export function hueOf(name) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193) >>> 0;
  return ((hash >>> 8) % 12) * 30;
}

/** The one or two letters that stand for a name. */
export function initialsOf(name) {
  const words = name.trim().split(/\s+/);
  const first = (word) => [...word][0] ?? "";
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : "")).toUpperCase();
}

/** Draws a name as a coloured disc. */
export function paintAvatar(element, name) {
  element.textContent = initialsOf(name);
  element.style.setProperty("--hue", hueOf(name));
}

/** Finds the name of this window: the one it had before a reload, else the last one of this browser, else a new one. */
export async function findName() {
  const name = sessionStorage.getItem("name") ?? localStorage.getItem("name") ?? randomName();
  return keepName((await claim(name)) ? name : randomName());
}

/** Remembers the name for a reload and for the next visit. */
export function keepName(name) {
  sessionStorage.setItem("name", name);
  localStorage.setItem("name", name);
  claim(name);
  return name;
}

/** Remembers a user id of this window, so that its own messages are its own after a reconnect or a reload. */
export function keepUserId(id) {
  sessionStorage.setItem("ids", [id, ...userIds().filter((other) => other !== id)].slice(0, 20).join(" "));
}

/** Reports whether a message is from this window. */
export function isMine(message) {
  return userIds().includes(message.from);
}

function userIds() {
  return (sessionStorage.getItem("ids") ?? "").split(" ");
}

function randomName() {
  const pick = (list) => list[Math.floor(Math.random() * list.length)];
  return `${pick(ADJECTIVES)} ${pick(ANIMALS)}`;
}

// A second window of the same browser should be somebody else, or nobody could talk to himself. A window holds
// a lock on its name for as long as it is open; whoever cannot have the lock is the second one.
function claim(name) {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true); // only on localhost and over https
    navigator.locks.request(`pond demo: ${name}`, { ifAvailable: true }, (lock) => {
      resolve(Boolean(lock));
      return lock && new Promise(() => {});
    });
  });
}
