// A plain static server of the exported page, under a sub-path as on a project site; and a way to stop it.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".json": "application/json", ".wasm": "application/wasm" };
export const PREFIX = "/course/live/";

/** Serve a folder under http://127.0.0.1:PORT/course/live/. Returns {url, close}. */
export async function serve(folder) {
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
    let file = join(folder, normalize(path.slice(PREFIX.length)));
    if (!path.startsWith(PREFIX) || !file.startsWith(folder)) return void response.writeHead(404).end();
    if (path.endsWith("/")) file = join(file, "index.html");
    try {
      const { size } = await stat(file);
      response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream", "content-length": size });
      createReadStream(file).pipe(response);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}${PREFIX}`,
    close: () => new Promise((resolve) => { server.closeAllConnections(); server.close(resolve); }),
  };
}
