import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { PASSWORD, USER } from '../client/hygiene.js'
import { type Result, run } from '../support/cli.js'
import { deferred } from '../support/deferred.js'
import { requireProgram } from '../support/programs.js'
import { connectRequest, GREETING_NO_AUTH } from '../support/raw-client.js'
import { type Peer, withProxy } from '../support/scripted-proxy.js'
import { startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'
import { note, proxyUrl } from './cases.js'
import { shared, startMicrosocks } from './peers.js'
import { PAGE, startSite } from './site.js'

const LOGIN = `${USER}:${PASSWORD}`

describe('a server without a password in front of one with', () => {
  const curl = requireProgram('curl', 'curl')
  const program = requireProgram('microsocks', 'microsocks')
  const upstream = shared([program], () => startMicrosocks({ username: USER, password: PASSWORD }))

  it.each([
    ['name', 'localhost', 'localhost'],
    ['IPv4', '127.0.0.1', '127.0.0.1'],
    ['IPv6', '[::1]', '::1'],
  ])('curl, which has no password, sees the page by %s', async (how, host, site) => {
    const { port } = await startSite(site)
    const bridge = await startBridge(proxyUrl(upstream().port, LOGIN))
    const { code, stdout } = await fetchThrough(bridge.port, `http://${host}:${port}/`)
    expect({ code, page: stdout.toString() }).toEqual({ code: 0, page: PAGE })
    note('curl, bridge, microsocks', `by ${how}`, 'page')
  })

  it('a target that refuses is reply 05, as the upstream told it', async () => {
    const bridge = await startBridge(proxyUrl(upstream().port, LOGIN))
    expect(await replyTo(bridge.port, `127.0.0.1:${await refusedPort()}`)).toBe(5)
    note('curl, bridge, microsocks', 'refused', 'reply 05')
  })

  it.each([
    ['that is down', async () => proxyUrl(await refusedPort(), LOGIN), 'ERR_SOCKS_PROXY_UNREACHABLE'],
    [
      'with another password',
      async () => proxyUrl(upstream().port, `${USER}:not-${PASSWORD}`),
      'ERR_SOCKS_AUTH_FAILED',
    ],
  ] as const)('an upstream %s is reply 01: it says nothing of the target', async (what, url, code) => {
    const bridge = await startBridge(await url())
    const closed = bridge.closed()
    expect(await replyTo(bridge.port, '127.0.0.1:9')).toBe(1)
    // The one who runs the bridge is told more than its clients.
    expect((await closed).error).toMatchObject({ code, hop: 0 })
    note('curl, bridge, microsocks', `upstream ${what}`, `reply 01; event: ${code}`)
  })

  /** The reply code that curl tells of. */
  async function replyTo(port: number, target: string): Promise<number> {
    const { code, stderr } = await fetchThrough(port, `http://${target}/`)
    expect(code).toBe(97)
    return Number(/complete SOCKS5 connection to .* \((\d+)\)/.exec(stderr)?.[1])
  }

  function fetchThrough(port: number, url: string): Promise<Result> {
    return run(curl, ['-q', '-sS', '-v', '--max-time', '25', '--proxy', proxyUrl(port), url])
  }
})

it('S86 a reset of the client while the upstream is silent closes the connection to the upstream', async () => {
  const asked = deferred()
  const script = async (peer: Peer): Promise<void> => {
    await peer.read(3)
    asked.resolve()
  }
  await withProxy(script, async (silent) => {
    const bridge = await startBridge(silent.url())
    const closed = bridge.closed()
    const client = await bridge.client()
    client.write(GREETING_NO_AUTH)
    expect(await client.read(2)).toBe('0500')
    client.write(connectRequest('127.0.0.1', 9))
    await asked.promise
    client.reset()
    const [peer] = await silent.connections(1)
    await peer?.closed
    expect((await closed).reason).toBe('aborted')
  })
  note('bridge', 'client reset, upstream silent', 'upstream connection closed')
})

/** The bridge: one line. */
function startBridge(proxy: string) {
  return startServer({ dial: new SocksClient({ proxy }).dialer() })
}
