import type { Socket } from 'node:net'
import { cleanup } from '../support/servers.js'
import { startTarget, type Target } from '../support/targets.js'

/** A target that reads to the client's FIN, and then answers with `answer(what it got)`. */
export async function startAnswerAfterFin(answer: (received: Buffer) => Uint8Array): Promise<Target> {
  const target = await startTarget((socket) => {
    readToFin(socket).then((received) => socket.end(answer(received)))
  })
  cleanup(() => target.close())
  return target
}

/** Everything up to the peer's FIN. */
export async function readToFin(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  await new Promise<void>((resolve) => {
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('end', resolve)
  })
  return Buffer.concat(chunks)
}
