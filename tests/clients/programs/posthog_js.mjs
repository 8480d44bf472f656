// Runs posthog-js in a page of jsdom: remote configuration, events, flags, surveys, features, logs.
// The argument is the base URL of an emulator. Requests cross origins, as those of a real site do.
import { createRequire } from 'node:module'
import path from 'node:path'

const require = createRequire(path.join(process.cwd(), 'package.json'))
const { JSDOM, VirtualConsole } = require('jsdom')

const host = process.argv[2]
const console_ = new VirtualConsole()
const errors = []
console_.on('jsdomError', (error) => errors.push(String(error)))
console_.on('error', (...parts) => errors.push(parts.join(' ')))
const page = new JSDOM('<!doctype html><html><body><button id="buy">Buy</button></body></html>', {
    url: 'https://shop.example/cart?utm_source=news',
    pretendToBeVisual: true,
    runScripts: 'outside-only',
    resources: 'usable',
    virtualConsole: console_,
})
const { window } = page
// jsdom has no fetch: posthog-js falls back to XMLHttpRequest, with preflights.
const source = require('node:fs').readFileSync(
    require.resolve('posthog-js').replace(/[^/]*$/, 'array.full.no-external.js'), 'utf8'
)
window.eval(source)
const posthog = window.posthog

const loaded = new Promise((resolve) => {
    posthog.init('phc_emulator', {
        api_host: host,
        person_profiles: 'always',
        capture_pageview: true,
        autocapture: true,
        opt_out_useragent_filter: true,
        disable_session_recording: true,
        request_queue_config: { flush_interval_ms: 250 },
        loaded: resolve,
    })
})
await loaded
const wait = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))
async function until(what, test) {
    for (let tries = 0; tries < 200; tries++) {
        const value = test()
        if (value) return value
        await wait(50)
    }
    throw new Error(`timed out: ${what}; ${errors.join('; ')}`)
}

await new Promise((resolve) => posthog.onFeatureFlags(resolve))
const anonymous = posthog.get_distinct_id()
posthog.capture('cart viewed', { items: 2 })
posthog.identify('ada', { email: 'ada@example.com' })
posthog.group('company', 'acme', { seats: 7 })
window.document.getElementById('buy').click()
posthog.reloadFeatureFlags()
const flag = await until('the flag', () => posthog.getFeatureFlag('layout'))
const payload = posthog.getFeatureFlagResult?.('layout')?.payload ?? posthog.getFeatureFlagPayload('layout')
const surveys = await new Promise((resolve) => posthog.getSurveys(resolve, true))
const features = await new Promise((resolve) => posthog.getEarlyAccessFeatures(resolve, true, ['beta']))
posthog.updateEarlyAccessFeatureEnrollment('beta-flag', true)
posthog.captureException(new window.Error('no such cart'))
posthog.capture('paid', { amount: 12.5 }, { send_instantly: true })
const last = ['paid', '$exception', '$feature_enrollment_update', '$autocapture']
for (let tries = 0; tries < 200; tries++) {
    const captured = await (await fetch(`${host}/_emulator/captured_events`)).json()
    const names = captured.results.map((event) => event.event)
    if (last.every((name) => names.includes(name))) break
    await wait(50)
}

process.stdout.write(JSON.stringify({
    anonymous, flag, payload, errors,
    surveys: surveys.map((survey) => survey.name),
    features: features.map((feature) => feature.flagKey),
}))
process.exit(0)
