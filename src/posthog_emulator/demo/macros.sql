-- A hash of three values and the seed. It does not depend on the order in which threads compute it.
(a, b, c) -> sipHash64(a, b, c, toInt64(@seed@)) AS draw3,
(a, b) -> draw3(a, b, 0) AS draw2,

-- A random number from 0 to 1.
(a, b) -> intDiv(draw2(a, b), 2048) / 9007199254740992.0 AS chance,

(list, a, b) -> list[1 + toInt64(floor(chance(a, b) * length(list)))] AS pick,

-- A UUID of version 7: its time, and bits that are derived from the arguments.
(micros, a, b) -> reinterpretAsUUID(concat(
    reinterpretAsFixedString(toUInt64(intDiv(micros, 1000)) * 65536 + 28672 + draw2(a, b) % 4096),
    reinterpretAsFixedString(9223372036854775808 + draw3(a, b, 'u') % 4611686018427387904)
)) AS moment_uuid,

-- The part of a demo's day that has passed, mostly around two in the afternoon of the visitor's time zone.
-- A demo's day begins at any time: @dawn@ is the time of day at which it does.
(a, b, hours) -> if(chance(a, concat(b, ' odd')) < 0.15, chance(a, concat(b, ' any')),
    (2.58 - @dawn@ - hours / 24.0 + (chance(a, concat(b, ' 1')) + chance(a, concat(b, ' 2'))
        + chance(a, concat(b, ' 3')) - 1.5) * 0.28) % 1.0) AS time_of_day
