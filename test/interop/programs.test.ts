import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { findProgram, missingProgram } from '../support/programs.js'
import { cleanup } from '../support/servers.js'

describe('requireProgram', () => {
  it('finds what PATH names and can be executed', () => {
    const directory = mkdtempSync(join(tmpdir(), 'tubesock-'))
    cleanup(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'tool')
    const path = [join(directory, 'missing'), '', directory].join(delimiter)
    expect(findProgram('tool', path)).toBeUndefined()
    writeFileSync(file, '#!/bin/sh\n', { mode: 0o600 })
    // Root may read anything, but nobody may execute a file without the bit.
    expect(findProgram('tool', path)).toBeUndefined()
    chmodSync(file, 0o700)
    expect(findProgram('tool', path)).toBe(file)
  })

  it('says which package to install', () => {
    expect(missingProgram('nc.openbsd', 'netcat-openbsd')).toContain('install the Debian package netcat-openbsd')
  })
})
