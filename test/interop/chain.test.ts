import { createHash } from 'node:crypto'
import { get } from 'node:http'
import type { Socket } from 'node:net'
import { describe, expect, it, vi } from 'vitest'
import { type Hop, SocksClient } from '../../src/client/index.js'
import { userPass } from '../../src/server/index.js'
import { failure, PASSWORD, USER } from '../client/hygiene.js'
import { deferred } from '../support/deferred.js'
import { requireProgram } from '../support/programs.js'
import { cleanup, startServer } from '../support/servers.js'
import { refusedPort } from '../support/targets.js'
import { note, proxyUrl } from './cases.js'
import { shared, startDante, startMicrosocks } from './peers.js'
import { largeFile, startSite } from './site.js'

const LOGIN = `${USER}:${PASSWORD}`
const TARGET = { host: '127.0.0.1', port: 9 }

describe('a chain of three: our own server, Dante, microsocks', () => {
  const danted = requireProgram('danted', 'dante-server')
  const micro = requireProgram('microsocks', 'microsocks')
  const dante = shared([danted], () => startDante())
  const strictDante = shared([danted], () => startDante('username'))
  const microsocks = shared([micro], () => startMicrosocks({ username: USER, password: PASSWORD }))

  /** The three proxies, or others in their place. */
  async function chain(others: Readonly<Record<number, string>> = {}): Promise<readonly string[]> {
    const { port } = await startServer({ auth: userPass({ [USER]: PASSWORD }) })
    const usual = [proxyUrl(port, LOGIN), proxyUrl(dante().port), proxyUrl(microsocks().port, LOGIN)]
    return usual.map((proxy, hop) => others[hop] ?? proxy)
  }

  it('carries 64 MiB unchanged, and tells of each hop', async () => {
    const file = largeFile(64)
    const site = await startSite('127.0.0.1', file.content)
    const proxy = await chain()
    const hops: Hop[] = []
    const onHop = (hop: Hop): void => void hops.push(hop)
    const { socket } = await SocksClient.connect({ proxy, host: '127.0.0.1', port: site.port, onHop })
    expect(await digestOf(socket, '/file')).toBe(file.digest)
    const places = proxy.map((url) => url.replace(`${LOGIN}@`, ''))
    expect(hops).toMatchObject([
      { hop: 0, proxy: places[0], target: places[1]?.replace('socks5h://', '') },
      { hop: 1, proxy: places[1], target: places[2]?.replace('socks5h://', '') },
      { hop: 2, proxy: places[2], target: `127.0.0.1:${site.port}` },
    ])
    note('chain of three', '64 MiB', 'equal SHA-256')
  })

  describe('a hop whose process is down is named', () => {
    it.each([
      // We dial the first ourselves; of the others, the proxy before tells.
      [0, 0, 'ERR_SOCKS_PROXY_UNREACHABLE', undefined],
      [1, 0, 'ERR_SOCKS_CONNECTION_REFUSED', 5],
      [2, 1, 'ERR_SOCKS_CONNECTION_REFUSED', 5],
    ] as const)('hop %s, by hop %s', async (down, hop, code, replyCode) => {
      const gone = proxyUrl(await refusedPort(), LOGIN)
      const proxy = await chain({ [down]: gone })
      const error = await failure(SocksClient.connect({ proxy, ...TARGET }), code)
      expect(error.hop).toBe(hop)
      expect(error.replyCode).toBe(replyCode)
      expect(error.message).toContain(`(hop ${hop + 1} of 3)`)
      // Whoever tells of it, the one that is down stands in the message.
      expect(error.message).toContain(gone.replace(`socks5h://${LOGIN}@`, ''))
      note('chain of three', `hop ${down} down`, error)
    })
  })

  describe('a hop that does not let us in is named', () => {
    it.each([0, 1, 2])('hop %s', async (hop) => {
      const good = await chain()
      const wrong = [
        good[0]?.replace(PASSWORD, `not-${PASSWORD}`),
        proxyUrl(strictDante().port, LOGIN),
        good[2]?.replace(PASSWORD, `not-${PASSWORD}`),
      ]
      const proxy = good.map((url, index) => (index === hop ? (wrong[index] ?? '') : url))
      const error = await failure(SocksClient.connect({ proxy, ...TARGET }), 'ERR_SOCKS_AUTH_FAILED')
      expect(error.hop).toBe(hop)
      expect(error.message).toContain(`proxy ${proxy[hop]?.replace(/\/\/.*@/, '//')} (hop ${hop + 1} of 3)`)
      note('chain of three', `hop ${hop} wrong password`, error)
    })
  })

  describe('C142 a hop that never answers is named', () => {
    it.each([
      [1, dante],
      [2, microsocks],
    ] as const)('hop %s', async (hop, peer) => {
      const proxy = await chain()
      peer().suspend()
      cleanup(() => peer().resume())
      const before = deferred()
      const onHop = (passed: Hop): void => {
        if (passed.hop === hop - 1) before.resolve()
      }
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
      const attempt = failure(SocksClient.connect({ proxy, ...TARGET, onHop, timeoutMs: 5_000 }), 'ERR_SOCKS_TIMEOUT')
      await before.promise
      vi.advanceTimersByTime(5_000)
      const error = await attempt
      expect(error.hop).toBe(hop)
      expect(error.message).toContain(`(hop ${hop + 1} of 3)`)
      note('chain of three', `hop ${hop} stopped`, error)
    })
  })

  it('a target that refuses is told by the last hop', async () => {
    const port = await refusedPort()
    const proxy = await chain()
    const error = await failure(SocksClient.connect({ proxy, host: '127.0.0.1', port }), 'ERR_SOCKS_CONNECTION_REFUSED')
    expect(error).toMatchObject({ hop: 2, target: `127.0.0.1:${port}`, replyCode: 5 })
    expect(error.message).toContain('(hop 3 of 3)')
    note('chain of three', 'target refused', error)
  })
})

/** SHA-256 of what a site answers over a socket. */
function digestOf(socket: Socket, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: 'site.test', path, createConnection: () => socket }, (response) => {
      const hash = createHash('sha256')
      response.on('error', reject)
      response.pipe(hash).on('finish', () => resolve(hash.digest('hex')))
    }).on('error', reject)
  })
}
