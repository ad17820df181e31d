// Keeps the page's files, so that it works without a network after the first visit.

const VERSION = new URL(location.href).searchParams.get("version");
const PREFIX = `tinyldm ${registration.scope} `; // another page of the same host keeps its own
const CACHE = PREFIX + VERSION;

async function keepAll() {
  const { files } = await (await fetch("files.json", { cache: "no-cache" })).json();
  const cache = await caches.open(CACHE);
  await cache.addAll(["./", "files.json", ...Object.keys(files)]);
}

async function forgetOthers() {
  const old = (await caches.keys()).filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  await clients.claim();
}

/** files.json from the network if there is one, so that a new version is noticed; all else from what was kept. */
async function answer(request) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(request, { ignoreSearch: true });
  const isList = new URL(request.url).pathname.endsWith("/files.json");
  if (kept && !isList) return kept;
  try {
    const response = await fetch(request);
    if (response.ok && !isList) await cache.put(request, response.clone()); // such as a snapshot, asked for now
    return response;
  } catch (error) {
    if (kept) return kept;
    throw error;
  }
}

addEventListener("install", (event) => event.waitUntil(keepAll().then(() => skipWaiting())));
addEventListener("activate", (event) => event.waitUntil(forgetOthers()));
addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(registration.scope)) event.respondWith(answer(event.request));
});
