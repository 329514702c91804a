import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { expect, it } from 'vitest'
import { cleanup, nextText, Peer, wrap } from './support.js'

const WORKERS = 2

/** A cluster whose workers open a relay each and tell its port; it ends with its standard input. */
const PROGRAM = (bundle: string): string => `
  import cluster from 'node:cluster'
  if (cluster.isPrimary) {
    for (let count = 0; count < ${WORKERS}; count++) cluster.fork().on('message', (port) => process.send(port))
    process.on('disconnect', () => process.exit())
  } else {
    const { openUdpRelay } = await import(${JSON.stringify(bundle)})
    const decide = async ({ type, host }) => ({ type, host })
    const relay = await openUdpRelay({ bind: { host: '127.0.0.1' }, client: { address: '127.0.0.1' }, decide })
    process.send(relay.address.port)
    process.on('disconnect', () => process.exit())
  }
`

async function startCluster(): Promise<number[]> {
  const directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
  cleanup(() => rmSync(directory, { recursive: true }))
  const bundle = join(directory, 'udp.mjs')
  // Node 20 runs no TypeScript; esbuild comes with tsup.
  const { build } = createRequire(createRequire(import.meta.url).resolve('tsup'))('esbuild')
  await build({
    entryPoints: [fileURLToPath(new URL('../../src/udp/index.ts', import.meta.url))],
    outfile: bundle,
    bundle: true,
    platform: 'node',
    format: 'esm',
  })
  const program = join(directory, 'cluster.mjs')
  writeFileSync(program, PROGRAM(pathToFileURL(bundle).href))
  const child = fork(program, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'], execArgv: [] })
  const exited = once(child, 'exit')
  cleanup(async () => {
    child.disconnect()
    await exited
  })
  const ports: number[] = []
  while (ports.length < WORKERS) ports.push((await once(child, 'message'))[0])
  return ports
}

it('S99 S103 in a cluster each worker has sockets of its own: nobody gets the answers of others', async () => {
  const ports = await startCluster()
  expect(new Set(ports).size).toBe(WORKERS)
  const [target, ...clients] = await Promise.all([Peer.open(), ...ports.map(() => Peer.open())])
  const ways = new Map<string, number>()
  for (let round = 0; round < 40; round++) {
    for (const [index, client] of clients.entries()) {
      await client.send(wrap(target.address, `${index}`), { host: '127.0.0.1', port: ports[index]! })
      const { data, from } = await target.next()
      ways.set(data.toString(), from.port)
      await target.send(Buffer.from(`answer to ${data}`), { host: '127.0.0.1', port: from.port })
      expect(await nextText(client)).toBe(`answer to ${index}`)
    }
  }
  expect(new Set(ways.values()).size).toBe(WORKERS)
})
