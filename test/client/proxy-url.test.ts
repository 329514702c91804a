import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { SocksClient } from '../../src/client/client.js'
import { type ProxyLike, parseProxy, type Upstream } from '../../src/client/proxy-url.js'
import { checkHygiene, PASSWORD, USER } from './hygiene.js'

function text(proxy: Upstream): unknown {
  const credentials = proxy.credentials()
  return (
    credentials && [
      Buffer.from(credentials.username).toString('latin1'),
      Buffer.from(credentials.password).toString('latin1'),
    ]
  )
}

function thrown(action: () => unknown): unknown {
  try {
    action()
  } catch (error) {
    checkHygiene(error)
    return error
  }
  throw new Error('it did not throw')
}

/** What the constructor of a client makes of a proxy: no I/O has happened when it throws. */
function refusal(proxy: ProxyLike | readonly ProxyLike[]): unknown {
  return thrown(() => new SocksClient({ proxy }))
}

describe('URLs', () => {
  it.each([
    ['socks5h://127.0.0.1:9050', 'remote', 'socks5h://127.0.0.1:9050'],
    ['socks://Proxy.Example', 'remote', 'socks5h://proxy.example:1080'],
    ['socks5://127.0.0.1', 'local', 'socks5://127.0.0.1:1080'],
    ['SOCKS5H://[::1]:1081/', 'remote', 'socks5h://[::1]:1081'],
    ['socks5h://b%C3%BCcher.example', 'remote', 'socks5h://xn--bcher-kva.example:1080'],
    ['socks5h://bücher.example', 'remote', 'socks5h://xn--bcher-kva.example:1080'],
    ['socks5h://localhost/run/tor/s%20ocks', 'remote', 'socks5h://localhost/run/tor/s ocks'],
  ])('C140 %s', (url, resolve, label) => {
    const proxy = parseProxy(url)
    expect(proxy).toMatchObject({ resolve, label })
    expect(parseProxy(new URL(url))).toMatchObject({ resolve, label })
    expect(proxy.credentials()).toBe(undefined)
  })

  it('C140 user and password are percent-decoded, to bytes', () => {
    expect(text(parseProxy('socks5h://a%40b:p%3A%2F%20w@h'))).toEqual(['a@b', 'p:/ w'])
    expect(text(parseProxy('socks5h://u:%ff%FE@h'))).toEqual(['u', '\xff\xfe'])
    expect(text(parseProxy('socks5h://ü:ü@h'))).toEqual(['Ã¼', 'Ã¼'])
  })

  it('C25 an empty password, an empty user, and neither', () => {
    expect(text(parseProxy('socks5h://user@h'))).toEqual(['user', ''])
    expect(text(parseProxy('socks5h://user:@h'))).toEqual(['user', ''])
    expect(text(parseProxy('socks5h://:secret@h'))).toEqual(['', 'secret'])
    expect(text(parseProxy('socks5h://:@h'))).toBe(undefined)
  })

  it.each([
    ['no scheme', `${USER}:${PASSWORD}@127.0.0.1:1080`],
    ['a host and a port alone', '127.0.0.1:1080'],
    ['an HTTP proxy', `http://${USER}:${PASSWORD}@127.0.0.1:1080`],
    ['SOCKS4 with a password', `socks4://${USER}:${PASSWORD}@127.0.0.1`],
    ['nothing', ''],
    ['no host', 'socks5h://'],
    ['no host but a port', `socks5h://${USER}:${PASSWORD}@:1080`],
    ['no slashes', `socks5h:${USER}:${PASSWORD}@127.0.0.1`],
    ['port 0', `socks5h://${USER}:${PASSWORD}@127.0.0.1:0`],
    ['port 65536', `socks5h://${USER}:${PASSWORD}@127.0.0.1:65536`],
    ['a port of letters', `socks5h://${USER}:${PASSWORD}@127.0.0.1:x`],
    ['a slash in the password', `socks5h://h:1/${PASSWORD}@127.0.0.1`],
    ['a hash in the password', `socks5h://${USER}:#${PASSWORD}@127.0.0.1`],
    ['a fragment', `socks5h://127.0.0.1#${PASSWORD}`],
    ['a query', `socks5h://127.0.0.1?${PASSWORD}`],
    ['a path', `socks5h://127.0.0.1/${PASSWORD}`],
    ['malformed percent-encoding', `socks5h://${USER}:${PASSWORD}%zz@127.0.0.1`],
    ['a percent sign at the end', `socks5h://${USER}:${PASSWORD}%@127.0.0.1`],
    ['a line feed, which the URL parser would drop', `socks5h://${USER}:${PASSWORD}\n1@127.0.0.1`],
    ['a space', `socks5h://${USER}:${PASSWORD} 1@127.0.0.1`],
    ['a NUL in the user', `socks5h://${USER}%00:${PASSWORD}@127.0.0.1`],
    ['a NUL in the password', `socks5h://${USER}:${PASSWORD}%00@127.0.0.1`],
    ['a NUL in the host', `socks5h://${USER}:${PASSWORD}@localhost%00.example`],
    ['a NUL in the path of a socket', 'socks5h://localhost/run/a%00b'],
    ['a user of 256 bytes', `socks5h://${'u'.repeat(256)}:${PASSWORD}@127.0.0.1`],
    ['a password of 256 bytes in 128 characters', `socks5h://${USER}:${'ü'.repeat(128)}@127.0.0.1`],
    ['a short spelling of IPv4', 'socks5h://127.1'],
    ['malformed IPv6', `socks5h://${USER}:${PASSWORD}@[::1::]`],
  ])('C26 C140 refused before any I/O: %s', (_name, url) => {
    const error = refusal(url)
    expect(error).toMatchObject({ name: 'SocksError', code: 'ERR_SOCKS_INVALID_PROXY' })
    expect(Object.hasOwn(error as Error, 'cause')).toBe(false)
  })
})

describe('objects', () => {
  it('resolve remotely unless told otherwise', () => {
    expect(parseProxy({ host: '[::1]', port: 99 })).toMatchObject({ resolve: 'remote', label: 'socks5h://[::1]:99' })
    expect(parseProxy({ host: 'h', resolve: 'local' })).toMatchObject({ resolve: 'local', label: 'socks5://h:1080' })
    expect(parseProxy({ path: '/run/x' })).toMatchObject({ address: undefined, path: '/run/x' })
    expect(parseProxy({ host: 'h', tls: true }).tlsOptions()).toEqual({})
    expect(parseProxy({ host: 'h', tls: false }).tlsOptions()).toBe(undefined)
    expect(text(parseProxy({ host: 'h', username: 'ü', password: '' }))).toEqual(['Ã¼', ''])
    expect(text(parseProxy({ host: 'h', password: 'p' }))).toEqual(['', 'p'])
  })

  it.each([
    ['an unknown key', { host: 'h', user: 'x' }, TypeError],
    ['the wrong type of host', { host: 1 }, TypeError],
    ['the wrong type of password', { host: 'h', password: 1 }, TypeError],
    ['the wrong type of tls', { host: 'h', tls: 'yes' }, TypeError],
    ['tls that is null', { host: 'h', tls: null }, TypeError],
    ['an unknown way to resolve', { host: 'h', resolve: 'never' }, TypeError],
    ['port 0', { host: 'h', port: 0 }, RangeError],
    ['port 65536', { host: 'h', port: 65_536 }, RangeError],
    ['a port as text', { host: 'h', port: '1080' }, RangeError],
    ['null', null, TypeError],
    ['a number', 1080, TypeError],
  ])('refused: %s', (_name, proxy, type) => {
    // What a caller without types may pass.
    expect(refusal(proxy as ProxyLike)).toBeInstanceOf(type)
  })

  it.each([
    ['neither host nor path', {}],
    ['both host and path', { host: 'h', path: '/x' }],
    ['an empty host', { host: '' }],
    ['an empty path', { path: '' }],
    ['a NUL in the path', { path: '/a\0b' }],
    ['a NUL in the host', { host: 'localhost\0.example' }],
    ['a NUL in the user', { host: 'h', username: 'a\0b', password: PASSWORD }],
    ['a NUL in the password', { host: 'h', username: USER, password: `${PASSWORD}\0` }],
    ['a password of 256 bytes', { host: 'h', username: USER, password: PASSWORD.padEnd(256, 'x') }],
    ['an empty list', []],
    ['a Unix socket behind another proxy', [{ host: 'h' }, { path: '/x' }]],
  ])('refused as a proxy: %s', (_name, proxy) => {
    expect(refusal(proxy)).toMatchObject({ code: 'ERR_SOCKS_INVALID_PROXY' })
  })
})

it('no way of printing a proxy or a client shows the credentials or the TLS key', () => {
  const proxy = { host: 'h', username: USER, password: PASSWORD, tls: { key: PASSWORD, passphrase: PASSWORD } }
  for (const object of [
    parseProxy(proxy),
    new SocksClient({ proxy }),
    new SocksClient({ proxy: [`socks5h://${USER}:${PASSWORD}@h`] }),
  ]) {
    const printed = `${inspect(object, { depth: 9, showHidden: true, getters: true })} ${JSON.stringify(object)} ${object}`
    expect(printed).not.toContain(USER)
    expect(printed).not.toContain(PASSWORD)
  }
})

it('nothing of the caller is changed or kept', () => {
  const options = Object.freeze({ host: '127.0.0.1', tls: Object.freeze({ servername: 'x' }) })
  const list: ProxyLike[] = ['socks5h://127.0.0.1', options]
  const client = new SocksClient({ proxy: list })
  expect(list).toEqual(['socks5h://127.0.0.1', options])
  list.length = 0
  expect(client.dialer()).toBeTypeOf('function')
})

it.each([-1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31])(
  'timeoutMs %s is refused: a timer would fire at once',
  (timeoutMs) => {
    expect(thrown(() => new SocksClient({ proxy: 'socks5h://h', timeoutMs }))).toBeInstanceOf(RangeError)
  },
)

it('other options are checked before any I/O', () => {
  expect(thrown(() => new SocksClient({ proxy: 'socks5h://h', localAddress: 'eth0' }))).toBeInstanceOf(TypeError)
  expect(thrown(() => new SocksClient({ proxy: 'socks5h://h', requireAuth: true }))).toMatchObject({
    code: 'ERR_SOCKS_INVALID_PROXY',
  })
})
