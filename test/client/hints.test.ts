import { describe, expect, it } from 'vitest'
import { SocksAgent, SocksClient, socksConnector } from '../../src/client/index.js'
import { checkHygiene, PASSWORD, rejection, USER } from './hygiene.js'

const proxy = 'socks5h://127.0.0.1:1080'
const target = { host: 'example.com', port: 443 }

/** Arguments that TypeScript would refuse. */
const wrong = (value: unknown): never => value as never

/** What a call says that throws a TypeError for a wrong argument. */
function complaint(call: () => unknown): string {
  let message = ''
  const throwing = (): void => {
    try {
      call()
    } catch (error) {
      if (error instanceof Error) message = error.message
      throw error
    }
  }
  expect(throwing).toThrow(expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' }))
  return message
}

describe('an unknown option', () => {
  it.each([
    ['timeout', "it is 'timeoutMs'"],
    ['host', 'it belongs to connect()'],
    ['port', 'it belongs to connect()'],
    ['signal', 'it belongs to connect()'],
    ['socket', 'it belongs to connect()'],
    ['firstData', 'it belongs to connect()'],
    ['existing_socket', "it is 'socket' of connect()"],
    ['username', 'it belongs to the proxy'],
    ['password', 'it belongs to the proxy'],
    ['tls', 'it belongs to the proxy'],
    ['type', "it is 'version' of the proxy"],
    ['userId', "it is 'username' of the proxy"],
    ['proxies', "'proxy' takes a list"],
  ])('of the constructor says what is meant: %s', (key, hint) => {
    expect(complaint(() => new SocksClient(wrong({ proxy, [key]: 'x' })))).toBe(`unknown option ${key}; ${hint}`)
  })

  it.each(['proxy', 'optimistic', 'requireAuth', 'isolate', 'lookup', 'localAddress', 'onHop'])(
    'of connect(), bind(), resolve() and udpAssociate() belongs to the constructor: %s',
    async (key) => {
      const client = new SocksClient({ proxy })
      const more = { [key]: 'x' }
      const attempts = [
        client.connect(wrong({ ...target, ...more })),
        client.bind(wrong(more)),
        client.resolve(wrong({ host: 'example.com', ...more })),
        client.udpAssociate(wrong(more)),
      ]
      for (const attempt of attempts) {
        const message = `unknown option ${key}; it belongs to the constructor`
        expect(await rejection(attempt)).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE', message })
      }
    },
  )

  it('of the static methods has the hints of both', async () => {
    for (const [key, hint] of [
      ['timeout', "it is 'timeoutMs'"],
      ['destination', "say 'host' and 'port'"],
      ['command', 'createConnection() takes it'],
    ] as const) {
      const error = await rejection(SocksClient.connect(wrong({ proxy, ...target, [key]: 'x' })))
      expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE', message: `unknown option ${key}; ${hint}` })
    }
    const error = await rejection(SocksClient.udpAssociate(wrong({ proxy, port: 1 })))
    expect(error).toMatchObject({ message: 'unknown option port; it belongs to connect()' })
  })

  it('that nobody has heard of, or that every object has, has no hint', () => {
    for (const key of ['timeoutMS', 'toString', 'constructor']) {
      expect(complaint(() => new SocksClient(wrong({ proxy, [key]: 'x' })))).toBe(`unknown option ${key}`)
    }
  })

  it.each([
    ['type', "it is 'version'"],
    ['userId', "it is 'username'"],
    ['ipaddress', "it is 'host'"],
    ['hostname', "it is 'host'"],
    ['timeout', "it is 'timeoutMs', beside the proxy"],
  ])('of a proxy says what is meant: %s', (key, hint) => {
    const given = { host: '127.0.0.1', username: USER, password: PASSWORD, [key]: PASSWORD }
    const error = (() => {
      try {
        return new SocksClient({ proxy: wrong(given) })
      } catch (thrown) {
        return thrown
      }
    })()
    checkHygiene(error)
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE', message: `unknown proxy option '${key}'; ${hint}` })
  })
})

describe('a port that is text', () => {
  it('is told so', async () => {
    const said = (message: string) => ({ name: 'RangeError', code: 'ERR_OUT_OF_RANGE', message })
    expect(() => new SocksClient({ proxy: { host: '127.0.0.1', port: wrong('1080') } })).toThrow(
      expect.objectContaining(said('proxy port must be an integer from 1 to 65535, not a string')),
    )
    const client = new SocksClient({ proxy })
    const text = wrong('443')
    for (const attempt of [client.connect({ ...target, port: text }), client.bind({ port: text })]) {
      expect(await rejection(attempt)).toMatchObject(said('port must be an integer from 0 to 65535, not a string'))
    }
    const error = await rejection(client.connect({ ...target, port: 65_536 }))
    expect(error).toMatchObject(said('port must be an integer from 0 to 65535'))
  })
})

describe('a client in place of a proxy', () => {
  it.each([
    ['SocksAgent', (given: object) => new SocksAgent(wrong(given))],
    ['socksConnector', (given: object) => socksConnector(wrong(given))],
    ['SocksClient', (given: object) => new SocksClient({ proxy: wrong(given) })],
    ['a chain', (given: object) => new SocksClient({ proxy: [wrong(given)] })],
  ])('%s says that it takes a proxy', (_name, make) => {
    const message = 'a proxy is a URL or an object of its options, not a client'
    expect(complaint(() => make(new SocksClient({ proxy })))).toBe(message)
    expect(complaint(() => make(new SocksAgent(proxy)))).toBe(message)
  })
})

describe('an option in the wrong place', () => {
  const TLS = ['ca', 'cert', 'key', 'pfx', 'passphrase', 'servername', 'rejectUnauthorized', 'checkServerIdentity']
  const TLS_TOO = ['ALPNProtocols', 'ciphers', 'minVersion', 'maxVersion', 'secureContext']
  const POOL = ['keepAlive', 'keepAliveMsecs', 'maxSockets', 'maxTotalSockets', 'maxFreeSockets', 'scheduling']

  it.each([...TLS, ...TLS_TOO, ...POOL, 'maxCachedSessions'])('%s is for the second argument of an agent', (key) => {
    const message = `unknown option ${key}; it belongs in the second argument`
    expect(complaint(() => new SocksAgent(proxy, {}, wrong({ [key]: 'x' })))).toBe(message)
  })

  it.each([...TLS, ...TLS_TOO])('%s is for the second argument of a connector', (key) => {
    const message = `unknown option ${key}; it belongs in the second argument`
    expect(complaint(() => socksConnector(proxy, {}, wrong({ [key]: 'x' })))).toBe(message)
  })

  it.each([
    ['timeout', "it is 'timeoutMs'"],
    ['proxy', 'the proxy is the first argument'],
    ['username', 'it belongs to the proxy'],
    ['host', 'each request says where to go'],
    ['port', 'each request says where to go'],
    ['signal', 'each request has its own'],
    ['timeoutMS', undefined],
  ])('%s in the third argument says what is meant', (key, hint) => {
    const message = hint === undefined ? `unknown option ${key}` : `unknown option ${key}; ${hint}`
    expect(complaint(() => new SocksAgent(proxy, {}, wrong({ [key]: 'x' })))).toBe(message)
    expect(complaint(() => socksConnector(proxy, {}, wrong({ [key]: 'x' })))).toBe(message)
  })

  it('socketOptions of another agent names what there is for it', () => {
    const message = "option socketOptions: say 'localAddress' and 'lookup' in the third argument"
    expect(complaint(() => new SocksAgent(proxy, wrong({ socketOptions: { localAddress: '127.0.0.1' } })))).toBe(
      message,
    )
  })

  it.each([
    ['connections', "it belongs to undici's Agent"],
    ['pipelining', "it belongs to undici's Agent"],
    ['keepAlive', "undici's Agent keeps connections: see its keepAliveTimeout"],
    ['keepAliveTimeout', "it belongs to undici's Agent"],
    ['keepAliveMaxTimeout', "it belongs to undici's Agent"],
    ['bodyTimeout', "it belongs to undici's Agent"],
    ['headersTimeout', "it belongs to undici's Agent"],
    ['maxSockets', "it is 'connections' of undici's Agent"],
    ['allowH2', "say ALPNProtocols: ['h2', 'http/1.1'], and allowH2 to the dispatcher"],
  ])('%s is for the dispatcher, not for its connector', (key, hint) => {
    expect(complaint(() => socksConnector(proxy, wrong({ [key]: 3 })))).toBe(`option ${key}: ${hint}`)
    expect(complaint(() => socksConnector(proxy, {}, wrong({ [key]: 3 })))).toBe(`unknown option ${key}; ${hint}`)
    expect(() => socksConnector(proxy, wrong({ [key]: undefined }))).not.toThrow()
  })
})

describe('isolate without a place', () => {
  it('says why: every proxy has credentials of its own, or is SOCKS4', () => {
    const make = () => new SocksClient({ proxy: ['socks5h://user:pw@h', 'socks4a://h'], isolate: true })
    const message = expect.stringContaining('every proxy has credentials of its own, or is SOCKS4')
    expect(make).toThrow(expect.objectContaining({ code: 'ERR_SOCKS_INVALID_PROXY', message }))
  })
})
