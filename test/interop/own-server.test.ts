import { describe, expect, it, vi } from 'vitest'
import { SocksClient } from '../../src/client/index.js'
import { createSocksServer, type ServerOptions, userPass } from '../../src/server/index.js'
import { checkHygiene, PASSWORD, rejection, USER } from '../client/hygiene.js'
import { deferred } from '../support/deferred.js'
import { startServer } from '../support/servers.js'
import { note, proveConnect, proveFailedLogins, proxyUrl, type Subject } from './cases.js'
import { shared } from './peers.js'

const REFUSED = { code: 'ERR_SOCKS_CONNECTION_REFUSED', replyCode: 5 } as const

describe('our own server', () => {
  const server = shared([], () => startShared())
  const subject: Subject = { name: 'tubesock', port: () => server().port, refused: REFUSED }

  proveConnect(subject)
  proveFailedLogins(subject, [
    {
      what: 'password insisted on',
      userinfo: `${USER}:${PASSWORD}`,
      requireAuth: true,
      code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD',
    },
  ])
})

describe('our own server with a password', () => {
  const server = shared([], () => startShared({ auth: userPass({ [USER]: PASSWORD }) }))
  const subject: Subject = {
    name: 'tubesock, userPass',
    port: () => server().port,
    userinfo: `${USER}:${PASSWORD}`,
    refused: REFUSED,
  }

  proveConnect(subject)
  proveFailedLogins(subject, [
    { what: 'wrong password', userinfo: `${USER}:not-${PASSWORD}`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'unknown user', userinfo: `nobody:${PASSWORD}`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'empty password', userinfo: `${USER}:`, code: 'ERR_SOCKS_AUTH_FAILED' },
    { what: 'no password', code: 'ERR_SOCKS_NO_ACCEPTABLE_METHOD' },
  ])
})

describe('our own server whose hooks never answer', () => {
  it.each([
    ['verifier', undefined],
    ['dialer', 6],
  ] as const)('C142 the %s: the deadline of the client ends it', async (hook, replyCode) => {
    const asked = deferred()
    const never = (): Promise<never> => {
      asked.resolve()
      return new Promise(() => {})
    }
    const auth = userPass(hook === 'verifier' ? never : { [USER]: PASSWORD })
    const { port, closed } = await startServer({ auth, dial: never })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    const proxy = proxyUrl(port, `${USER}:${PASSWORD}`)
    const attempt = rejection(SocksClient.connect({ proxy, host: 'site.test', port: 80, timeoutMs: 5_000 }))
    await asked.promise
    vi.advanceTimersByTime(5_000)
    const error = await attempt
    checkHygiene(error)
    expect(error).toMatchObject({ code: 'ERR_SOCKS_TIMEOUT', hop: 0 })
    // Only what was asked of the target can be the target's fault.
    expect(Reflect.get(Object(error), 'replyCode')).toBe(replyCode)
    note('tubesock', `timeout, ${hook} silent`, error)
    // The server has deadlines of its own.
    const gone = closed()
    vi.advanceTimersByTime(60_000)
    await gone
  })
})

async function startShared(options: ServerOptions = {}) {
  const server = createSocksServer(options)
  const { port } = await server.listen(0)
  return { port, stop: () => server.close({ graceMs: 0 }) }
}
