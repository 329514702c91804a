// What is proven of our client through every proxy alike.

import { readFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { afterEach, expect, it, vi } from 'vitest'
import { SocksClient, SocksError, type SocksErrorCode } from '../../src/client/index.js'
import { checkHygiene, failure, rejection } from '../client/hygiene.js'
import { settlesAt } from '../support/descriptors.js'
import { cleanup } from '../support/servers.js'
import { refusedPort, startTarget } from '../support/targets.js'
import { silentPort } from './peers.js'
import { PAGE, startSite } from './site.js'

/** How a failure is told: the error's code and the proxy's own number, if it gave one. */
export interface Verdict {
  readonly code: SocksErrorCode
  readonly replyCode?: number
}

/** A proxy under test. */
export interface Subject {
  readonly name: string
  /** Port of the running proxy. */
  readonly port: () => number
  /** `user:password` for its URL. */
  readonly userinfo?: string
  /** What it makes of a target that refuses. */
  readonly refused: Verdict
}

// What our client says at least before it waits: version, number of methods, one method.
const GREETING_LENGTH = 3

afterEach(() => {
  vi.useRealTimers()
})

/** One line of the table of results. */
export function note(peer: string, what: string, result: unknown): void {
  console.log(`interop | ${peer} | ${what} | ${result instanceof Error ? describeFailure(result) : result}`)
}

/** The tests that every proxy passes. */
export function proveConnect({ name, port, userinfo, refused }: Subject): void {
  const proxy = (at = port()): string => proxyUrl(at, userinfo)

  it.each([
    ['name', 'localhost', 'localhost'],
    ['IPv4', '127.0.0.1', '127.0.0.1'],
    ['IPv6', '::1', '::1'],
  ])('C65 C140 reaches a target by %s', async (how, host, site) => {
    // `localhost` is whichever address this system puts first: some proxies try no other.
    const target = await startSite(site)
    const { socket, bound } = await SocksClient.connect({ proxy: proxy(), host, port: target.port })
    expect(await fetchPage(socket)).toBe(PAGE)
    // Port numbers would make every run's table different.
    note(name, `by ${how}`, `page, BND ${bound.host}:${bound.port === 0 ? '0' : 'PORT'}`)
  })

  it('C65 a target that speaks first is heard, however late', async () => {
    const banner = '220 ready\r\n'
    const target = await startTarget((socket) => socket.end(banner))
    cleanup(() => target.close())
    const { socket } = await SocksClient.connect({ proxy: proxy(), host: '127.0.0.1', port: target.port })
    expect(socket.readableFlowing).toBeNull()
    // All of it is here before anybody listens.
    expect(await settlesAt(() => socket.readableLength, banner.length)).toBe(banner.length)
    expect(await text(socket)).toBe(banner)
  })

  it(`a target that refuses is told as ${refused.code}`, async () => {
    const target = { host: '127.0.0.1', port: await refusedPort() }
    const error = await failure(SocksClient.connect({ proxy: proxy(), ...target }), refused.code)
    expect(error).toMatchObject({ hop: 0, target: `127.0.0.1:${target.port}` })
    expect(error.replyCode).toBe(refused.replyCode)
    note(name, 'refused', error)
  })

  it('C142 a target that never answers: the deadline ends it, and the proxy sees us go', async () => {
    const target = { host: '127.0.0.1', port: await silentPort() }
    const tap = await startTap(port())
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const attempt = rejection(SocksClient.connect({ proxy: proxy(tap.port), ...target, timeoutMs: 10_000 }))
    await dialed(target.port)
    vi.advanceTimersByTime(10_000)
    const error = await attempt
    checkHygiene(error)
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', hop: 0, replyCode: 6 })
    await tap.left
    note(name, 'timeout, target silent', error)
  })

  it('C142 an abort in the middle of the handshake ends it, and the proxy sees us go', async () => {
    const target = { host: '127.0.0.1', port: await silentPort() }
    const tap = await startTap(port())
    const aborter = new AbortController()
    const reason = new Error('changed my mind')
    const options = { proxy: proxy(tap.port), ...target, signal: aborter.signal }
    const attempt = rejection(SocksClient.connect(options))
    await dialed(target.port)
    aborter.abort(reason)
    expect(await attempt).toBe(reason)
    await tap.left
    note(name, 'abort', "the signal's reason")
  })
}

/** A proxy that is stopped: its kernel accepts, nobody answers. */
export function proveTimeout({ name, port, userinfo }: Subject, peer: () => { suspend(): void; resume(): void }): void {
  it('C142 a proxy that never answers: the deadline ends it', async () => {
    const tap = await startTap(port())
    peer().suspend()
    cleanup(() => peer().resume())
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const attempt = rejection(
      SocksClient.connect({ proxy: proxyUrl(tap.port, userinfo), host: '127.0.0.1', port: 9, timeoutMs: 10_000 }),
    )
    await tap.said(GREETING_LENGTH)
    vi.advanceTimersByTime(10_000)
    const error = await attempt
    checkHygiene(error)
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', hop: 0 })
    // Not the target's fault: nobody has asked for it.
    expect(error).not.toHaveProperty('replyCode')
    await tap.left
    note(name, 'timeout, proxy stopped', error)
  })
}

/** A login that fails, and how it is told. */
export interface FailedLogin {
  readonly what: string
  /** `user:password` for the URL of the proxy. */
  readonly userinfo?: string
  readonly requireAuth?: boolean
  readonly code: 'ERR_SOCKS_AUTH_FAILED' | 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' | 'ERR_SOCKS_CONNECTION_CLOSED'
}

const CONFORMANCE: Readonly<Record<FailedLogin['code'], string>> = {
  ERR_SOCKS_AUTH_FAILED: 'C23',
  ERR_SOCKS_NO_ACCEPTABLE_METHOD: 'C3',
  ERR_SOCKS_CONNECTION_CLOSED: 'C15',
}

/** Logins that the proxy does not admit, or cannot do. */
export function proveFailedLogins(
  { name, port }: Pick<Subject, 'name' | 'port'>,
  logins: readonly FailedLogin[],
): void {
  const cases = logins.map((login) => [CONFORMANCE[login.code], login.what, login.code, login] as const)
  it.each(cases)('%s %s is %s', async (_case, what, code, { userinfo, requireAuth }) => {
    const target = { host: '127.0.0.1', port: 9 }
    const attempt = SocksClient.connect({ proxy: proxyUrl(port(), userinfo), requireAuth, ...target })
    const error = await failure(attempt, code)
    expect(error).toMatchObject({ hop: 0, target: '127.0.0.1:9' })
    note(name, what, error)
  })
}

export function proxyUrl(port: number, userinfo?: string): string {
  return `socks5h://${userinfo === undefined ? '' : `${userinfo}@`}127.0.0.1:${port}`
}

/** Asks for `path` over a socket that leads to a site. */
export async function fetchPage(socket: Socket, path = '/'): Promise<string> {
  return new Promise((resolve, reject) => {
    get({ host: 'site.test', path, createConnection: () => socket }, (response) => {
      text(response).then(resolve, reject)
    }).on('error', reject)
  })
}

function describeFailure(error: Error): string {
  if (!(error instanceof SocksError)) return error.message
  const { code, replyCode, status } = error
  const number = replyCode ?? status
  return number === undefined ? code : `${code} (${number.toString(16).padStart(2, '0')})`
}

/** Stands between our client and a proxy. */
interface Tap {
  readonly port: number
  /** Resolves when the client has said as many bytes. */
  said(length: number): Promise<void>
  /** Resolves when the client has closed its connection. */
  readonly left: Promise<void>
}

async function startTap(port: number): Promise<Tap> {
  let length = 0
  let leave = (): void => {}
  let wake = (): void => {}
  const left = new Promise<void>((resolve) => {
    leave = resolve
  })
  const tap = await startTarget((client) => {
    const proxy = connect({ host: '127.0.0.1', port, allowHalfOpen: true })
    proxy.on('error', () => client.destroy())
    client.on('data', (chunk: Buffer) => {
      length += chunk.length
      proxy.write(chunk)
      wake()
    })
    proxy.pipe(client)
    client.on('end', () => {
      leave()
      proxy.destroy()
    })
    client.on('close', () => {
      leave()
      proxy.destroy()
    })
  })
  cleanup(() => tap.close())
  return {
    port: tap.port,
    left,
    said: async (wanted) => {
      while (length < wanted) {
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    },
  }
}

/** Resolves when somebody waits for an answer from a port: its SYN is out. */
async function dialed(port: number): Promise<void> {
  // Other tests run beside this one, and may have a socket of theirs on the way to a port of that number.
  expect(await settlesAt(() => Math.min(1, waitingFor(port)), 1)).toBe(1)
}

/** Sockets of this machine in SYN_SENT (02) to a port of 127.0.0.1, as the kernel lists them. */
function waitingFor(port: number): number {
  const remote = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 02`
  return readFileSync('/proc/net/tcp', 'utf8').split(remote).length - 1
}
