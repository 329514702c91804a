import { writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { type ClosedInfo, createForwardServer, type Session } from '../../src/server/index.js'
import { requireProgram } from '../support/programs.js'
import { connectRequest, GREETING_NO_AUTH, RawClient } from '../support/raw-client.js'
import { cleanup, startServer } from '../support/servers.js'
import { startEcho } from '../support/targets.js'
import { Daemon, freePort, temporaryDirectory } from './peers.js'

describe('haproxy in front', () => {
  const haproxy = requireProgram('haproxy', 'haproxy')

  /** haproxy on a free port until the test is over, with one server behind it. */
  async function startHaproxy(bind: string, server: string): Promise<number> {
    const port = await freePort()
    const directory = temporaryDirectory()
    const file = join(directory, 'haproxy.cfg')
    const config = [
      'defaults',
      '  mode tcp',
      '  timeout connect 5s',
      '  timeout client 30s',
      '  timeout server 30s',
      'frontend door',
      `  bind 127.0.0.1:${port} ${bind}`,
      '  default_backend socks',
      'backend socks',
      `  server one ${server}`,
    ]
    writeFileSync(file, `${config.join('\n')}\n`)
    const daemon = new Daemon(haproxy, ['-db', '-f', file], directory)
    cleanup(() => daemon.stop())
    await daemon.listens(port)
    return port
  }

  /** A server that believes it. */
  async function startSocks() {
    const fixture = await startServer({ proxyProtocol: ['127.0.0.1'], egress: () => true })
    const sessions: Session[] = []
    const closed: ClosedInfo[] = []
    fixture.server.on('session', (session) => sessions.push(session))
    fixture.server.on('closed', (info) => closed.push(info))
    return { ...fixture, sessions, all: closed }
  }

  /** What comes back through an echo behind the server; and the port that the client has spoken from. */
  async function hello(port: number, localAddress: string): Promise<[answer: string, localPort: number | undefined]> {
    const echo = await startEcho()
    cleanup(() => echo.close())
    const client = await RawClient.connect(port, { localAddress })
    const { localPort } = client.stream as Socket // `connect` makes sockets
    client.stream.end(Buffer.concat([GREETING_NO_AUTH, connectRequest('127.0.0.1', echo.port), Buffer.from('hello')]))
    const answer = await client.readToEnd()
    client.stream.destroy()
    return [String(answer.subarray(12)), localPort]
  }

  it.each([
    ['send-proxy', ''],
    ['send-proxy-v2', ''],
    // With more TLVs than it has of its own accord.
    ['send-proxy-v2', 'proxy-v2-options unique-id,crc32c'],
  ])('S138 %s %s tells our server who the client is', async (option, more) => {
    const fixture = await startSocks()
    const port = await startHaproxy('', `127.0.0.1:${fixture.port} ${option} ${more}`)
    const [answer, clientPort] = await hello(port, '127.0.0.7')
    expect(answer).toBe('hello')
    const told = fixture.sessions.filter(({ clientAddress }) => clientAddress === '127.0.0.7')
    expect(told).toMatchObject([{ clientPort, isLocal: false }])
    expect(fixture.errors).toEqual([])
  })

  it.each(['send-proxy', 'send-proxy-v2'])('S138 S18 its health checks with %s are no errors', async (option) => {
    const fixture = await startSocks()
    await startHaproxy('', `127.0.0.1:${fixture.port} ${option} check check-send-proxy inter 20`)
    // Most of them are reset before they are accepted, and no session at all.
    await vi.waitFor(() => expect(fixture.all.length).toBeGreaterThan(0), { timeout: 20_000 })
    expect(new Set(fixture.all.map(({ reason }) => reason))).toEqual(new Set(['empty']))
    expect(fixture.errors).toEqual([])
  })

  it.each([1, 2] as const)('S138 accept-proxy believes our forward server (version %s)', async (version) => {
    const fixture = await startSocks()
    const port = await startHaproxy('accept-proxy', `127.0.0.1:${fixture.port} send-proxy-v2`)
    const forward = createForwardServer({ target: { host: '127.0.0.1', port }, sendProxyHeader: version })
    cleanup(() => forward.close({ graceMs: 0 }))
    const [answer] = await hello((await forward.listen(0)).port, '127.0.0.9')
    expect(answer).toBe('hello')
    expect(fixture.sessions.filter(({ clientAddress }) => clientAddress === '127.0.0.9')).toHaveLength(1)
  })
})
