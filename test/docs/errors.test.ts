import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { SOCKS_ERROR_CODES } from '../../src/codec/index.js'

it('docs/errors.md has a heading for each code, and no other', () => {
  const markdown = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8')
  const headings = [...markdown.matchAll(/^### `?(ERR_SOCKS_\w+)`?$/gm)].map(([, code]) => code)
  expect(headings.sort()).toEqual([...SOCKS_ERROR_CODES].sort())
})
