import { describe, expect, it } from 'vitest'
import { ClientPin, canonicalSource } from '../../src/udp/client-pin.js'

function pin(options: Partial<ConstructorParameters<typeof ClientPin>[0]> = {}): ClientPin {
  return new ClientPin({ address: '192.0.2.1', port: 0, relatchAfterMs: 0, ...options })
}

describe('ClientPin', () => {
  it('S103 admits the address of the control connection alone, whichever way the system writes it', () => {
    expect(pin().admits('192.0.2.1', 5000, 0)).toBe(true)
    expect(pin().admits('::ffff:192.0.2.1', 5000, 0)).toBe(true)
    for (const host of ['192.0.2.2', '::ffff:192.0.2.2', '::1', '127.0.0.1', '']) {
      expect(pin().admits(host, 5000, 0), host).toBe(false)
    }
    const six = pin({ address: 'fe80::1' })
    expect(six.admits('fe80::1%eth0', 5000, 0)).toBe(true)
    expect(six.admits('fe80::2%eth0', 5000, 0)).toBe(false)
    expect(pin({ address: '2001:db8::1' }).admits('2001:db8:0:0::1', 5000, 0)).toBe(true)
  })

  it('S104 keeps to the port of the first valid datagram, and to none before', () => {
    const latched = pin()
    expect(latched.peer).toBeUndefined()
    expect(latched.admits('192.0.2.1', 5000, 0)).toBe(true)
    // What came from there was garbage: nothing was latched.
    expect(latched.admits('192.0.2.1', 5001, 0)).toBe(true)
    expect(latched.latch('192.0.2.1', 5001, 0)).toBe(true)
    expect(latched.latch('192.0.2.1', 5001, 0)).toBe(false)
    expect(latched.admits('192.0.2.1', 5001, 0)).toBe(true)
    expect(latched.admits('192.0.2.1', 5000, 1e9)).toBe(false)
    expect(latched.admits('192.0.2.2', 5001, 0)).toBe(false)
    expect(latched.peer).toEqual({ host: '192.0.2.1', port: 5001 })
  })

  it('S104 another port may take over after the silence that was asked for, never port 0', () => {
    const latched = pin({ relatchAfterMs: 100 })
    latched.latch('192.0.2.1', 5000, 0)
    latched.latch('192.0.2.1', 5000, 50)
    expect(latched.admits('192.0.2.1', 5001, 149)).toBe(false)
    expect(latched.admits('192.0.2.1', 5001, 150)).toBe(true)
    expect(latched.admits('192.0.2.1', 0, 150)).toBe(false)
    expect(latched.admits('192.0.2.2', 5001, 150)).toBe(false)
    // Admitted is not valid: the first one may still come back.
    expect(latched.admits('192.0.2.1', 5000, 150)).toBe(true)
    expect(latched.latch('192.0.2.1', 5001, 150)).toBe(true)
    expect(latched.admits('192.0.2.1', 5000, 151)).toBe(false)
  })

  it('S105 a port that was named is the only one, for ever', () => {
    const fixed = pin({ port: 5000, relatchAfterMs: 1 })
    expect(fixed.admits('192.0.2.1', 5001, 0)).toBe(false)
    expect(fixed.admits('192.0.2.1', 5000, 0)).toBe(true)
    fixed.latch('192.0.2.1', 5000, 0)
    expect(fixed.admits('192.0.2.1', 5001, 1e9)).toBe(false)
  })

  it('S123 without an address the first valid sender is the client', () => {
    const first = pin({ address: undefined })
    expect(first.admits('127.0.0.2', 5000, 0)).toBe(true)
    expect(first.admits('127.0.0.3', 0, 0)).toBe(false)
    first.latch('127.0.0.2', 5000, 0)
    expect(first.admits('127.0.0.3', 5000, 0)).toBe(false)
    expect(first.admits('127.0.0.2', 5000, 0)).toBe(true)
  })

  it('what is no address is left as it is', () => {
    expect(canonicalSource('')).toBe('')
    expect(canonicalSource('not an address')).toBe('not an address')
    expect(canonicalSource('::FFFF:1.2.3.4')).toBe('1.2.3.4')
  })
})
