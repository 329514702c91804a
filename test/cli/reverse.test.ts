import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, expect, it } from 'vitest'
import { CLI, Program, tubesock } from '../support/cli.js'
import { settlesAt } from '../support/descriptors.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort, startEcho } from '../support/targets.js'

function startReverse(proxyPort: number, port: number, target: number): Program {
  const proxy = `socks5h://127.0.0.1:${proxyPort}`
  const args = ['forward', '--reverse', '--proxy', proxy, '--listen', `0.0.0.0:${port}`, `127.0.0.1:${target}`]
  return new Program(process.execPath, [CLI, ...args])
}

/** Says something at a port and returns what comes back. */
async function ask(port: number, text: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  await once(socket, 'connect')
  socket.end(text)
  const chunks: Buffer[] = []
  socket.on('data', (chunk) => chunks.push(chunk))
  await once(socket, 'end')
  return Buffer.concat(chunks).toString()
}

describe('forward --reverse', () => {
  it('has the proxy listen at the port that was asked for, again after each peer, and stops on SIGTERM', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port: proxyPort, server } = await startServer({ commands: ['bind'], bind: { port: 'requested' } })
    const port = await refusedPort()
    const program = startReverse(proxyPort, port, echo.port)
    await program.output(new RegExp(`^forwarding 127\\.0\\.0\\.1:${port} -> 127\\.0\\.0\\.1:${echo.port}\\n`))
    for (const text of ['one', 'two', 'three']) {
      expect(await settlesAt(() => server.stats().listening, 1)).toBe(1)
      expect(await ask(port, text)).toBe(text)
    }
    program.kill('SIGTERM')
    const { code, stdout, stderr } = await program.finished
    expect([code, stderr]).toEqual([0, ''])
    // Told once: it is the same address every time.
    expect(String(stdout).trim().split('\n').length).toBe(1)
  })

  it('asks again when the proxy gives up waiting, and tells every new address', async () => {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const { port: proxyPort } = await startServer({ commands: ['bind'], bind: { timeoutMs: 50 } })
    const program = startReverse(proxyPort, 1, echo.port)
    await program.output(/(forwarding [^\n]*\n[\s\S]*){3}/)
    program.kill('SIGTERM')
    const { code, stderr } = await program.finished
    expect([code, stderr]).toEqual([0, ''])
  })

  it('a proxy that refuses is one line and exit code 1; a target that refuses is one line, and it goes on', async () => {
    const plain = await startServer()
    const refused = startReverse(plain.port, 0, 9)
    const { code, stderr } = await refused.finished
    expect([code, stderr.trim().split('\n').length]).toEqual([1, 1])

    const { port: proxyPort, server } = await startServer({ commands: ['bind'], bind: { port: 'requested' } })
    const port = await refusedPort()
    const program = startReverse(proxyPort, port, await refusedPort())
    await program.output(/forwarding/)
    const peer = connect({ port, host: '127.0.0.1' })
    peer.on('error', () => {})
    await program.output(/ECONNREFUSED/, 'stderr')
    expect(await settlesAt(() => server.stats().listening, 1)).toBe(1)
    program.kill('SIGTERM')
    expect((await program.finished).code).toBe(0)
  })

  it('with --udp it is a wrong command line', async () => {
    const { code, stderr } = await tubesock(['forward', '--udp', '--reverse', '--proxy', 'socks5h://h', 'x:1'])
    expect([code, stderr.trim().split('\n').length]).toEqual([2, 1])
  })
})
