import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { cleanup } from '../support/servers.js'

/** What `GET /` answers. */
export const PAGE = 'a page through SOCKS\n'

/** Serves `GET /` (a page), `GET /file` (64 MiB) and `PUT /file` (answers the SHA-256 of what it got). */
export interface Site {
  readonly port: number
}

export interface LargeFile {
  readonly content: Buffer
  readonly digest: string
}

/** Random bytes, so that a chunk that is lost, doubled or moved changes the digest. */
export function largeFile(megabytes: number): LargeFile {
  const content = randomBytes(megabytes * 1024 * 1024)
  return { content, digest: sha256(content) }
}

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Starts a site on a loopback address until the test is over. */
export async function startSite(host = '127.0.0.1', file: Buffer = Buffer.alloc(0)): Promise<Site> {
  const server = createServer((request, response) => {
    answer(request, response, file).catch(() => response.destroy())
  })
  server.listen(0, host)
  await once(server, 'listening')
  cleanup(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: address.port }
}

async function answer(request: IncomingMessage, response: ServerResponse, file: Buffer): Promise<void> {
  if (request.method === 'PUT') {
    const hash = createHash('sha256')
    for await (const chunk of request) hash.update(chunk)
    response.end(hash.digest('hex'))
  } else {
    response.end(request.url === '/file' ? file : PAGE)
  }
}
