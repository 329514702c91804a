import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'

const text = readFileSync(new URL('../../docs/security.md', import.meta.url), 'utf8')
const rows = text.split('\n').filter((line) => /^\| (?!---|threat )/.test(line))

describe('docs/security.md', () => {
  it('names tests that exist, at least one for each threat', () => {
    expect(rows.length).toBeGreaterThan(15)
    for (const row of rows) {
      const tests = row.match(/`[a-z-]+\/[a-z0-9-]+\.test\.ts`/g) ?? []
      expect(tests.length, row).toBeGreaterThan(0)
      for (const name of tests) {
        expect(existsSync(new URL(`../${name.replaceAll('`', '')}`, import.meta.url)), name).toBe(true)
      }
    }
  })
})
