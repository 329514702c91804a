import { describe, expect, it } from 'vitest'
import { type ProxyTarget, proxyFromEnv } from '../../src/client/env.js'

const UPPER = 'socks5h://127.0.0.1:1'
const LOWER = 'socks5://127.0.0.1:2'

describe('ALL_PROXY', () => {
  it.each([
    [{}, undefined],
    [{ ALL_PROXY: UPPER }, UPPER],
    [{ all_proxy: LOWER, ALL_PROXY: UPPER }, LOWER],
    [{ all_proxy: '', ALL_PROXY: UPPER }, UPPER],
    [{ ALL_PROXY: 'http://127.0.0.1:3' }, undefined],
    [{ ALL_PROXY: '127.0.0.1:3' }, undefined],
    [{ all_proxy: 'http://127.0.0.1:3', ALL_PROXY: UPPER }, undefined],
    [{ ALL_PROXY: 'SOCKS5H://h' }, 'SOCKS5H://h'],
    [{ ALL_PROXY: 'socks4a://h' }, 'socks4a://h'],
    [{ ALL_PROXY: 'socks6://h' }, undefined],
    [{ ALL_PROXY: UPPER, NO_PROXY: '*' }, UPPER],
  ])('%o', (env, expected) => {
    expect(proxyFromEnv(undefined, env)).toBe(expected)
  })
})

describe('NO_PROXY', () => {
  // Compared with curl 7.88, but where the note says so.
  it.each<[string, ProxyTarget, boolean]>([
    ['example.com', 'example.com', true],
    ['example.com', 'www.example.com', true],
    ['.example.com', 'www.example.com', true],
    ['.example.com', 'example.com', true],
    ['example.com', 'nonexample.com', false],
    ['example.com', 'example.com.org', false],
    ['EXAMPLE.com.', 'www.Example.COM', true],
    ['example.com', 'www.example.com.', true],
    ['a.test,example.com', 'example.com', true],
    [' a.test , example.com ', 'example.com', true],
    ['a.test example.com', 'example.com', true],
    ['*', 'example.com', true],
    ['a.test,*', 'example.com', false],
    ['*.example.com', 'www.example.com', false],
    ['example.com:443', 'example.com', false],
    ['.', 'example.com', false],
    ['example.com', { host: 'example.com', port: 443 }, true],
    ['example.com', new URL('https://example.com/x'), true],
    ['example.com', 'https://user@www.example.com:8443/x', true],
    ['example.com', 'example.com:443', true],
    ['127.0.0.1', '127.0.0.1', true],
    ['127.0.0.1', '127.0.0.1:80', true],
    ['127.0.0.0/8', '127.9.9.9', true],
    ['10.0.0.0/9', '10.128.0.0', false],
    ['0.0.1', '127.0.0.1', false],
    ['127.0.0.1/33', '127.0.0.1', false],
    ['127.0.0.1/x', '127.0.0.1', false],
    ['127.0.0.1/8/8', '127.0.0.1', false],
    ['127.0.0.0/8', '127.example.com', false],
    ['::1', '::1', true],
    ['::1', '[::1]:80', true],
    ['::1', 'http://[::1]/', true],
    ['fd00::/8', 'fd12::1', true],
    ['fd00::/8', 'fe80::1', false],
    ['2001:db8::/33', '2001:db8:8000::', false],
    ['::/0', '127.0.0.1', false],
    // As in curl "/0" is the address alone, not the whole world.
    ['0.0.0.0/0', '127.0.0.1', false],
    ['0.0.0.0/0', '0.0.0.0', true],
    ['example.com', 'not a url://', false],
  ])('%s and %s', (list, target, isExcepted) => {
    expect(proxyFromEnv(target, { ALL_PROXY: UPPER, NO_PROXY: list })).toBe(isExcepted ? undefined : UPPER)
  })

  it('no_proxy comes before NO_PROXY, unless it is empty', () => {
    const env = { ALL_PROXY: UPPER, NO_PROXY: 'example.com' }
    expect(proxyFromEnv('example.com', { ...env, no_proxy: 'other.test' })).toBe(UPPER)
    expect(proxyFromEnv('example.com', { ...env, no_proxy: '' })).toBe(undefined)
  })

  it('reads the environment of the process by default', () => {
    expect(() => proxyFromEnv('example.com')).not.toThrow()
  })
})
