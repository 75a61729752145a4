// The identity of this window: a name that is kept, and the user ids that it had. And the names of rooms.

const ADJECTIVES = ["Quick", "Calm", "Bright", "Gentle", "Brave", "Merry", "Quiet", "Lucky", "Witty", "Sunny", "Clever", "Mellow"];
const ANIMALS = ["Otter", "Heron", "Newt", "Dragonfly", "Kingfisher", "Turtle", "Beaver", "Swan", "Minnow", "Frog", "Teal", "Perch"];

/** Returns the hue of a name, in degrees. It is the same in every window. */
export function hueOf(name) {
  let hash = 0x811c9dc5; // FNV-1a
  for (const char of name) hash = Math.imul(hash ^ char.codePointAt(0), 0x01000193) >>> 0;
  return ((hash >>> 8) % 12) * 30;
}

/** Returns one or two letters for a name. */
export function initialsOf(name) {
  const words = name.trim().split(/\s+/);
  const first = (word) => [...word][0] ?? "";
  return (first(words[0]) + (words.length > 1 ? first(words.at(-1)) : "")).toUpperCase();
}

/** Draws a name as a coloured circle. */
export function paintAvatar(element, name) {
  element.textContent = initialsOf(name);
  element.style.setProperty("--hue", hueOf(name));
}

/** Returns the name of this window: the name before a reload, else the last name in this browser, else a new one. */
export async function findName() {
  const name = sessionStorage.getItem("name") ?? localStorage.getItem("name") ?? randomName();
  return keepName((await claim(name)) ? name : randomName());
}

/** Keeps the name for a reload and for the next visit. */
export function keepName(name) {
  sessionStorage.setItem("name", name);
  localStorage.setItem("name", name);
  claim(name);
  return name;
}

/** Keeps a user id of this window, so that it recognizes its own messages after a reconnect or a reload. */
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

/** Returns the name of a room for the text that a person typed. */
export function roomNameOf(text) {
  return text.trim().replace(/^#/, "").toLowerCase().normalize("NFC").replace(/\s+/g, "-");
}

/** Returns why a room cannot have this name, or "". The server has the same rules. */
export function roomProblem(name) {
  const characters = [...name];
  if (characters.length > 32) return `${characters.length} characters are too many: use at most 32`;
  const invalid = new Set(characters.filter((char) => !/[\p{L}\p{M}\p{Nd}_-]/u.test(char)));
  if (invalid.size === 0) return "";
  return `${[...invalid].join(" ")} cannot be in a name: use letters, digits, hyphens and underscores`;
}

// A second window of the same browser should have another name, so that a visitor can try the chat alone. A window
// holds a lock on its name while it is open. A window that cannot get the lock is the second one.
function claim(name) {
  return new Promise((resolve) => {
    if (!navigator.locks) return resolve(true); // only on localhost and over https
    navigator.locks.request(`pond demo: ${name}`, { ifAvailable: true }, (lock) => {
      resolve(Boolean(lock));
      return lock && new Promise(() => {});
    });
  });
}
