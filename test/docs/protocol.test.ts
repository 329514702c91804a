import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { collectTests, numberedTests, protocolProblems, renderTable } from '../../scripts/protocol-table.mjs'

const DOCUMENT = new URL('../../docs/protocol.md', import.meta.url)

describe('docs/protocol.md', () => {
  const markdown = readFileSync(DOCUMENT, 'utf8')
  const tests = collectTests(fileURLToPath(new URL('..', import.meta.url)))

  it('has a row for each number, a test for each row that is done, and a row for each test', () => {
    expect(protocolProblems(markdown, tests)).toEqual([])
  })

  it('names the tests as they are called now (node scripts/protocol-table.mjs writes them)', () => {
    const lines = markdown.split('\n')
    expect(
      renderTable(markdown, tests)
        .split('\n')
        .filter((line, index) => line !== lines[index]),
    ).toEqual([])
  })
})

describe('the check of docs/protocol.md', () => {
  it('finds the numbers of titles in every form that tests have', () => {
    const source = `
      it('S1 one', () => {})
      it("S2, S3 two of them", () => {})
      test(\`K36 \${x} parts\`, () => {})
      it.each([['S99 a row', 1]])('C8 %s of a table', () => {})
      it.each<[a: string]>([['(']])("about S11 and S13: both", async (a): Promise<void> => {})
      it.each\`a | b\`('S14 tagged', () => {})
      it.skipIf(isWindows)('S15 conditional', () => {})
      it.skip('S16 skipped', () => {})
      it.todo('S17 to do')
      describe('S18 a suite', () => {})
      // it('S19 a comment', () => {})
      it('SOCKS5 without XS20 or S21x', () => {})`
    const tests = numberedTests('a.test.ts', source)
    expect(tests.map(({ tokens }) => tokens.join(' '))).toEqual(['S1', 'S2 S3', 'K36', 'C8', 'S11 S13', 'S14', 'S15'])
    expect(tests[2]).toEqual({ file: 'a.test.ts', title: 'K36 … parts', tokens: ['K36'] })
  })

  it('is content with a table that tells the truth', () => {
    expect(protocolProblems(table(), numberedTests('a.test.ts', "it('S1 works', f)"))).toEqual([])
  })

  it.each([
    ['a row that is done without a test', '| 1 | S | works | done | |', '', /^S1 is marked done/],
    ['a test without a row', '| 1 | S | works | done | |', "it('S1 K1 works', f)", /^K1 is without a row/],
    ['another status', '| 1 | S | works | soon | |', '', /^S1 is neither/],
    [
      'two rows of one kind',
      '| 2 | S | a | later | |\n| 1 | S | b | later | |\n| 1 | S | b | later | |',
      '',
      /two rows/,
    ],
    ['a number without a row', '', '', /^1 has no row$/],
  ])('reports %s', (_what, row, source, problem) => {
    const problems = protocolProblems(table(row), numberedTests('a.test.ts', source))
    expect(problems.filter((text) => problem.test(text))).toHaveLength(1)
  })

  it('writes the tests of a row into its last column', () => {
    const tests = numberedTests('codec/a.test.ts', "it('S1 a | b <c>', f); it('S1 again', f)")
    const cell = '`codec/a.test.ts`: S1 a \\| b &lt;c><br>`codec/a.test.ts`: S1 again'
    const written = renderTable(table(), tests)
    expect(written).toContain(`| 1 | S | works | done | ${cell} |\n`)
    expect(renderTable(written, tests)).toBe(written)
    expect(renderTable(written, [])).toBe(table())
  })
})

function table(first = '| 1 | S | works | done | |'): string {
  const others = Array.from({ length: 144 }, (_, index) => `| ${index + 2} | S | text | later | |`)
  return ['# Title', '<!-- protocol-table -->', first, ...others, '<!-- /protocol-table -->', ''].join('\n')
}
