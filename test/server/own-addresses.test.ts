import { describe, expect, it } from 'vitest'
import { OwnAddresses } from '../../src/server/own-addresses.js'

describe('addresses of our own', () => {
  it.each([
    ['0.0.0.0', undefined, ['127.0.0.1', '127.0.0.9', '::1'], ['192.0.2.1']],
    ['::', undefined, ['127.0.0.1', '::1', '::'], ['2001:db8::1', '192.0.2.1']],
    // Ports belong to a family: of thousands of relays, one has for IPv6 the port of somebody's IPv4 target.
    ['0.0.0.0', 'ipv4', ['127.0.0.1', '127.0.0.9'], ['::1', '192.0.2.1']],
    ['::', 'ipv6', ['::1', '::'], ['127.0.0.1', '192.0.2.1']],
    ['127.0.0.1', 'ipv4', ['127.0.0.1'], ['127.0.0.2', '::1']],
  ] as const)(
    'S122 what is bound to %s, of family %s, is reached by %j and not by %j',
    (host, family, reached, others) => {
      const own = new OwnAddresses()
      own.add(host, 5_000, family)
      expect(reached.map((target) => own.has(target, 5_000))).toEqual(reached.map(() => true))
      expect(others.map((target) => own.has(target, 5_000))).toEqual(others.map(() => false))
      expect(own.has(reached[0], 5_001)).toBe(false)
      own.remove(host, 5_000, family)
      expect(reached.some((target) => own.has(target, 5_000))).toBe(false)
    },
  )
})
