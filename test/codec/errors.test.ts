import { inspect } from 'node:util'
import { describe, expect, it } from 'vitest'
import { isSocksError, SOCKS_ERROR_CODES, SocksError } from '../../src/codec/index.js'

describe('SocksError', () => {
  it('has a code out of one closed list', () => {
    expect(new Set(SOCKS_ERROR_CODES).size).toBe(SOCKS_ERROR_CODES.length)
    for (const code of SOCKS_ERROR_CODES) expect(code).toMatch(/^ERR_SOCKS_[A-Z_]+$/)
  })

  it('carries the details that apply, and no others', () => {
    const bare = new SocksError('ERR_SOCKS_BAD_VERSION', 'wrong')
    expect(bare).toBeInstanceOf(Error)
    expect(Object.keys(bare)).toEqual(['code'])
    expect('cause' in bare).toBe(false)
    expect(String(bare)).toBe('SocksError: wrong')
    const cause = new Error('system')
    const response = Uint8Array.of(1)
    const full = new SocksError('ERR_SOCKS_LOOP', 'loop', {
      replyCode: 2,
      status: 1,
      response,
      hop: 0,
      target: 'example.com:80',
      cause,
    })
    expect(full).toMatchObject({ replyCode: 2, status: 1, hop: 0, target: 'example.com:80' })
    expect(full.response).toBe(response)
    expect(full.cause).toBe(cause)
    expect(Object.keys(full).sort()).toEqual(['code', 'hop', 'replyCode', 'response', 'status', 'target'])
    expect(Object.keys(new SocksError('ERR_SOCKS_LOOP', '', { hop: undefined, replyCode: 2 }))).toEqual([
      'code',
      'replyCode',
    ])
  })

  it('shows its code to a person', () => {
    const text = inspect(new SocksError('ERR_SOCKS_LOOP', 'loop', { replyCode: 2 }))
    expect(text).toContain('ERR_SOCKS_LOOP')
    expect(text).toContain('replyCode: 2')
  })

  it('is known by its name and code, also from another copy of the package', () => {
    class OtherCopy extends Error {
      readonly code = 'ERR_SOCKS_LOOP'
      override readonly name = 'SocksError'
    }
    expect(isSocksError(new SocksError('ERR_SOCKS_LOOP', ''))).toBe(true)
    expect(isSocksError(new OtherCopy())).toBe(true)
    for (const value of [
      undefined,
      null,
      'ERR_SOCKS_LOOP',
      new Error('ERR_SOCKS_LOOP'),
      Object.assign(new Error(''), { code: 'ERR_SOCKS_LOOP' }),
      Object.assign(new OtherCopy(), { code: 'ECONNRESET' }),
      { name: 'SocksError', code: 'ERR_SOCKS_LOOP' },
    ]) {
      expect(isSocksError(value)).toBe(false)
    }
  })
})
