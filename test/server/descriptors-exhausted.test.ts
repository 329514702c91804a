import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup } from '../support/servers.js'
import { startEcho } from '../support/targets.js'

const SERVER = `
  import { createSocksServer } from ${JSON.stringify(fileURLToPath(new URL('../../dist/index.js', import.meta.url)))}
  const server = createSocksServer({ handshakeTimeoutMs: 0 })
  let errors = 0
  server.on('error', () => errors++)
  const { port } = await server.listen(0)
  console.log(port)
  process.stdin.on('data', () => console.log(JSON.stringify({ errors, ...server.stats() })))
`

describe('out of descriptors', () => {
  it('S145 sheds what it has no room for, lives on, and serves again when there is room', async () => {
    // A process of its own, whose limit is 60.
    const child = spawn(
      'bash',
      ['-c', 'ulimit -n 60; exec "$0" --input-type=module -e "$1"', process.execPath, SERVER],
      {
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    )
    cleanup(() => child.kill('SIGKILL'))
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const nextLine = async () => String((await lines.next()).value)
    const port = Number(await nextLine())
    const echo = await startEcho()
    cleanup(() => echo.close())

    const held: Socket[] = []
    let closed = 0
    for (let index = 0; index < 100; index++) {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {})
      socket.on('close', () => {
        closed++
      })
      socket.resume()
      await once(socket, 'connect')
      held.push(socket)
    }
    const shed = 100 - 60
    while (closed < shed)
      await once(held.find((socket) => !socket.destroyed) ?? child, 'close', {
        signal: AbortSignal.timeout(100),
      }).catch(() => {})
    child.stdin.write('\n')
    const full = JSON.parse(await nextLine())
    expect(full.connections).toBeGreaterThan(20)
    expect(full.connections).toBeLessThan(60)
    // Told now and then, not at every attempt.
    expect(full.errors).toBeLessThan(5)

    for (const socket of held) socket.destroy()
    const until = performance.now() + 10_000
    let answer = ''
    while (answer !== 'hello' && performance.now() < until) {
      const client = await RawClient.connect(port)
      client.write(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('hello')]))
      client.end()
      answer = (await client.readToEnd()).subarray(12).toString()
      client.stream.destroy()
    }
    expect(answer).toBe('hello')
    expect(child.exitCode).toBeNull()
  })
})
