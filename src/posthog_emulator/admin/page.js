// The status page: it renews itself every two seconds, and runs queries.
'use strict'

const RENEWED = ['now', 'figures', 'minutes', 'events', 'requests', 'resources', 'limits']
const SVG = 'http://www.w3.org/2000/svg'
const byId = (id) => document.getElementById(id)

function element(name, text, className) {
    const made = document.createElement(name)
    if (text !== undefined) made.textContent = text
    if (className) made.className = className
    return made
}

function shape(name, attributes, text) {
    const made = document.createElementNS(SVG, name)
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value)
    if (text !== undefined) made.textContent = text
    return made
}

// ---- Renewal

const keys = () => new Set([...document.querySelectorAll('#events [data-key]')].map((row) => row.dataset.key))

async function renew() {
    const pause = byId('pause')
    if (document.hidden || pause.getAttribute('aria-pressed') === 'true') return
    let text
    try {
        const response = await fetch('/', { cache: 'no-store' })
        if (!response.ok) throw new Error(String(response.status))
        text = await response.text()
        document.body.classList.remove('stale')
    } catch {
        document.body.classList.add('stale')
        return
    }
    const fresh = new DOMParser().parseFromString(text, 'text/html')
    const known = keys()
    const open = new Set([...document.querySelectorAll('#events details[open]')].map((item) => item.dataset.key))
    for (const id of RENEWED) {
        const current = byId(id)
        const next = fresh.getElementById(id)
        if (!next || current.innerHTML === next.innerHTML) continue
        const scrolled = current.querySelector('.scroll')?.scrollTop
        current.replaceWith(next)
        if (scrolled) next.querySelector('.scroll').scrollTop = scrolled
    }
    for (const item of document.querySelectorAll('#events details')) item.open = open.has(item.dataset.key)
    if (known.size) {
        for (const row of document.querySelectorAll('#events tr[data-key]')) {
            if (!known.has(row.dataset.key)) row.classList.add('new')
        }
    }
    select()
}

function select() {
    const wanted = byId('filter').value.trim().toLowerCase()
    for (const row of document.querySelectorAll('#events tr[data-key]')) {
        row.hidden = wanted !== '' && !row.textContent.toLowerCase().includes(wanted)
    }
}

byId('tools').hidden = false
byId('filter').addEventListener('input', select)
byId('pause').addEventListener('click', () => {
    const pause = byId('pause')
    const paused = pause.getAttribute('aria-pressed') !== 'true'
    pause.setAttribute('aria-pressed', String(paused))
    pause.textContent = paused ? 'Resume' : 'Pause'
    renew()
})
document.addEventListener('visibilitychange', renew)
setInterval(renew, 2000)

// ---- Queries

const form = byId('console')
const sql = byId('sql')
const told = byId('told')
const result = byId('result')
form.hidden = false

async function run() {
    told.className = 'quiet'
    told.textContent = 'Running …'
    const started = performance.now()
    let status = 0
    let body
    try {
        const response = await fetch('/_emulator/query', {
            method: 'POST',
            headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ query: sql.value }),
        })
        status = response.status
        body = await response.json()
    } catch (error) {
        body = { detail: String(error) }
    }
    const took = Math.round(performance.now() - started)
    if (status !== 200 || !Array.isArray(body.results)) {
        result.replaceChildren()
        told.className = 'bad'
        told.textContent = body.detail || `Status ${status}`
        return
    }
    const count = body.results.length
    const more = body.hasMore ? ', and more: add a LIMIT to see them' : ''
    told.textContent = `${count.toLocaleString('en')} ${count === 1 ? 'row' : 'rows'} in ${took} ms${more}`
    result.replaceChildren()
    const chart = chartOf(body)
    if (chart) result.append(chart)
    if (count) result.append(tableOf(body))
}

const shown = (value) => (value === null ? 'null' : typeof value === 'object' ? JSON.stringify(value) : String(value))
const isNumber = (value) => typeof value === 'number'

function tableOf({ columns, results }) {
    const numeric = columns.map((_, at) => results.every((row) => row[at] === null || isNumber(row[at])))
    const table = element('table')
    const head = table.createTHead().insertRow()
    columns.forEach((name, at) => head.append(element('th', name, numeric[at] ? 'number' : '')))
    const rows = table.createTBody()
    for (const values of results.slice(0, 500)) {
        const row = rows.insertRow()
        values.forEach((value, at) => {
            const text = isNumber(value) ? value.toLocaleString('en') : shown(value)
            row.append(element('td', text, numeric[at] ? 'number' : value === null ? 'quiet' : 'path'))
        })
    }
    const box = element('div', undefined, 'scroll')
    box.append(table)
    return box
}

// A chart of the first column of numbers, over the first column of anything else.
function chartOf({ columns, results }) {
    if (results.length < 2) return null
    const find = (test) => columns.findIndex((_, at) => results.every((row) => test(row[at])))
    const value = find(isNumber)
    const label = find((item) => item !== null && !isNumber(item) && typeof item !== 'object')
    if (value < 0 || label < 0) return null
    const points = results.map((row) => [shown(row[label]), row[value]])
    const dated = points.every(([name]) => /^\d{4}-\d\d-\d\d/.test(name))
    const drawn = dated ? lineOf(points) : barsOf(points.slice(0, 20))
    drawn.setAttribute('class', 'fitted')
    drawn.setAttribute('role', 'img')
    drawn.setAttribute('aria-label', `${columns[value]} by ${columns[label]}`)
    return drawn
}

function lineOf(unsorted) {
    const points = [...unsorted].sort((a, b) => (a[0] < b[0] ? -1 : 1))
    const [width, height] = [result.clientWidth, 180]
    const highest = Math.max(...points.map(([, number]) => number), 0)
    const lowest = Math.min(...points.map(([, number]) => number), 0)
    const times = points.map(([name]) => Date.parse(name.length > 10 ? name : `${name}T00:00:00Z`))
    const span = times.at(-1) - times[0] || 1
    const x = (at) => 4 + ((times[at] - times[0]) / span) * (width - 8)
    const y = (number) => height - ((number - lowest) / (highest - lowest || 1)) * (height - 8)
    const drawn = shape('svg', { viewBox: `0 -18 ${width} ${height + 40}` })
    drawn.append(shape('line', { x1: 0, x2: width, y1: y(0), y2: y(0) }))
    drawn.append(shape('polyline', { points: points.map(([, number], at) => `${x(at)},${y(number)}`).join(' ') }))
    points.forEach(([name, number], at) => {
        const dot = shape('circle', { cx: x(at), cy: y(number), r: points.length > 60 ? 1.5 : 3 })
        dot.append(shape('title', {}, `${name}: ${number.toLocaleString('en')}`))
        drawn.append(dot)
    })
    drawn.append(shape('text', { x: 0, y: -6 }, highest.toLocaleString('en')))
    drawn.append(shape('text', { x: 0, y: height + 18 }, points[0][0].slice(0, 16)))
    const last = shape('text', { x: width, y: height + 18, 'text-anchor': 'end' }, points.at(-1)[0].slice(0, 16))
    drawn.append(last)
    return drawn
}

function barsOf(points) {
    const width = result.clientWidth
    const [line, start] = [24, Math.min(220, width * 0.4)]
    const highest = Math.max(...points.map(([, number]) => Math.abs(number))) || 1
    const drawn = shape('svg', { viewBox: `0 0 ${width} ${points.length * line}` })
    points.forEach(([name, number], at) => {
        const length = Math.max(1, (Math.abs(number) / highest) * (width - start - 80))
        const most = Math.floor(start / 7)
        const cut = name.length > most ? `${name.slice(0, most - 1)}…` : name
        const text = shape('text', { x: start - 10, y: at * line + 16, 'text-anchor': 'end' }, cut)
        const bar = shape('rect', { x: start, y: at * line + 4, width: length, height: line - 8, rx: 2 })
        bar.append(shape('title', {}, `${name}: ${number.toLocaleString('en')}`))
        drawn.append(text, bar)
        drawn.append(shape('text', { x: start + length + 8, y: at * line + 16 }, number.toLocaleString('en')))
    })
    return drawn
}

form.addEventListener('submit', (event) => {
    event.preventDefault()
    run()
})
sql.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault()
        run()
    }
})
for (const example of document.querySelectorAll('[data-sql]')) {
    example.addEventListener('click', () => {
        sql.value = example.dataset.sql
        run()
    })
}
