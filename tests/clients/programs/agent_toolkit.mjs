// Calls every tool of @posthog/agent-toolkit once, and prints what each returned or failed with.
// The argument is the base URL of an emulator; the packages are found from the working directory.
import { createRequire } from 'node:module'
import path from 'node:path'

const require = createRequire(path.join(process.cwd(), 'package.json'))
const { PostHogAgentToolkit } = require('@posthog/agent-toolkit/tools')

const toolkit = new PostHogAgentToolkit({
    posthogPersonalApiKey: 'phx_emulator',
    posthogApiToken: 'phx_emulator',
    posthogApiBaseUrl: process.argv[2],
})
const context = toolkit.getContext()
const tools = new Map((await toolkit.getTools()).map((tool) => [tool.name, tool]))
const report = {}

async function call(name, params = {}) {
    const tool = tools.get(name)
    try {
        const result = await tool.handler(context, tool.schema.parse(params))
        const text = result.content.map((part) => part.text).join('\n')
        let value = text
        try {
            value = JSON.parse(text)
        } catch {
            // Some tools answer in prose.
        }
        report[name] = { ok: result.isError !== true, value }
        return value
    } catch (error) {
        report[name] = { ok: false, value: String(error?.stack ?? error) }
        return {}
    }
}

const organizations = await call('organizations-get')
await call('organization-details-get')
await call('switch-organization', { orgId: organizations[0]?.id })
await call('projects-get')
await call('switch-project', { projectId: 1 })
await call('event-definitions-list', { q: 'a' })
await call('properties-list', { type: 'event', eventName: 'signed up' })

const filters = { groups: [{ properties: [], rollout_percentage: 100 }] }
const flag = await call('create-feature-flag', {
    name: 'New navigation', key: 'new-nav', description: 'The bar at the top', filters, active: true, tags: [],
})
await call('feature-flag-get-all')
await call('feature-flag-get-definition', { flagKey: 'new-nav' })
await call('update-feature-flag', { flagKey: 'new-nav', data: { name: 'Navigation', active: false } })

const trends = {
    kind: 'InsightVizNode',
    source: {
        kind: 'TrendsQuery',
        series: [{ kind: 'EventsNode', event: 'signed up', custom_name: 'Sign-ups', math: 'total' }],
        dateRange: { date_from: '-30d' },
        interval: 'day',
    },
}
await call('query-run', { query: trends })
const insight = await call('insight-create-from-query', {
    data: { name: 'Sign-ups', query: trends, favorited: false, tags: [] },
})
await call('insights-get-all', { data: { search: 'Sign' } })
await call('insight-get', { insightId: insight.short_id })
await call('insight-query', { insightId: insight.short_id })
await call('insight-update', { insightId: insight.short_id, data: { name: 'New users', query: trends } })

const dashboard = await call('dashboard-create', { data: { name: 'Growth', pinned: true } })
await call('dashboards-get-all', { data: { search: 'Growth', pinned: true } })
await call('dashboard-get', { dashboardId: dashboard.id })
await call('dashboard-update', { dashboardId: dashboard.id, data: { description: 'Weekly' } })
await call('add-insight-to-dashboard', { data: { insightId: insight.short_id, dashboardId: dashboard.id } })

const experiment = await call('experiment-create', {
    name: 'Shorter form',
    description: 'Fewer fields',
    feature_flag_key: 'short-form',
    type: 'product',
    primary_metrics: [{ name: 'Paid', metric_type: 'mean', event_name: 'paid', properties: {} }],
    variants: [
        { key: 'control', rollout_percentage: 50 },
        { key: 'test', rollout_percentage: 50 },
    ],
    minimum_detectable_effect: 20,
    draft: false,
})
await call('experiment-get-all')
const experimentId = experiment.id ?? experiment.experiment?.id
await call('experiment-get', { experimentId })
await call('experiment-update', { experimentId, data: { description: 'Fewer questions', launch: true } })
await call('experiment-results-get', { experimentId, refresh: true })
await call('experiment-delete', { experimentId })

const survey = await call('survey-create', {
    name: 'NPS',
    type: 'popover',
    description: 'Quarterly',
    questions: [{ type: 'open', question: 'Why?' }],
    start_date: null,
})
await call('surveys-get-all', { search: 'NPS' })
await call('survey-get', { surveyId: survey.id })
await call('survey-update', { surveyId: survey.id, name: 'Net promoter score' })
await call('survey-stats', { survey_id: survey.id })
await call('surveys-global-stats')
await call('survey-delete', { surveyId: survey.id })

const now = new Date()
const weekAgo = new Date(now.getTime() - 7 * 86_400_000)
const dates = { dateFrom: weekAgo.toISOString(), dateTo: now.toISOString() }
await call('list-errors', { orderBy: 'occurrences', status: 'active', ...dates })
await call('error-details', { issueId: process.argv[3], ...dates })
await call('get-llm-total-costs-for-project', { projectId: 1, days: 7 })
await call('query-generate-hogql-from-question', { question: 'How many signed up last week?' })

await call('insight-delete', { insightId: insight.short_id })
await call('dashboard-delete', { dashboardId: dashboard.id })
await call('delete-feature-flag', { flagKey: 'new-nav' })

process.stdout.write(JSON.stringify({ names: [...tools.keys()], report }))
process.exit(0)
