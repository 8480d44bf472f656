"""Functions of single rows: their arguments, and the kinds of their results."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Final

from .names import Function, read

__all__ = ["scalar_functions"]

# By the kind of the result; see `names.py` for the notation. Functions that are printed in a way
# of their own (`rewrites.py`) are listed as well, for the number of their arguments.
_TABLE: Final[Mapping[str, str]] = {
    "sum": "plus:2 minus:2",
    "number": """
        multiply:2 divide:2 intDiv:2 intDivOrZero:2 modulo:2 moduloOrZero:2 positiveModulo:2 negate
        abs gcd:2 lcm:2 {max,min}2:2 {multiply,divide}Decimal:2-3 countEqual:2
        arrayMin:1+ arrayMax:1+ arraySum:1+ arrayAvg:1+ arrayProduct:1+ arrayAUC:2-4
        e:0 pi:0 exp° log°:1-2 ln° exp2 exp10 log2° log10° log1p sqrt° cbrt erf erfc {l,t}gamma sin°
        cos° tan° asin° acos° atan° atan2:2 cosh acosh sinh asinh atanh pow°:2 power°:2
        intExp{2,10} hypot:2 sign° degrees° radians° factorial° width_bucket:4 rand:0-1
        floor°:1-2 ceil°:1-2 trunc°:1-2 round°:1-2 roundBankers:1-2 roundToExp2 roundDuration
        roundAge roundDown:2 dotProduct:2 tupleHammingDistance:2
        {L1,L2,Linf}Norm LpNorm:2 {L1,L2,Linf}Distance:2 LpDistance:3 cosineDistance:2
        bit{And,Or,Xor}:2 bitNot bit{ShiftLeft,ShiftRight,RotateLeft,RotateRight}:2
        bitCount bitHammingDistance:2 ngram{Distance,Search}{,UTF8}:2
        ngram{Distance,Search}CaseInsensitive{,UTF8}:2 ifNotFinite:2
    """,
    "int": """
        length° indexOf:2 toUnixTimestamp:1-2 toUnixTimestamp64Milli cityHash64:1+
        reinterpretAs{UInt,Int}{8,16,32,64,128,256} timeZoneOffset
        to{Year,Quarter,Month,DayOfYear,DayOfMonth,Hour,Minute,Second,ISOYear,ISOWeek}:1-2
        toDayOfWeek:1-3 to{Week,YearWeek}:1-3 toYYYYMM:1-2 toYYYYMMDD:1-2 toYYYYMMDDhhmmss:1-2
        toModifiedJulianDay date{Diff}:3-4 date_diff:3-4 age:3-4 rowNumberInBlock:0
        rowNumberInAllBlocks:0 date_part:2
        JSONLength:1+ JSONArrayLength JSONExtract{UInt,Int}:1+ lengthUTF8 ascii°
        position°:2-3 position{CaseInsensitive,UTF8,CaseInsensitiveUTF8}:2-3 locate:2-3
        multiSearchFirst{Position,Index}{,UTF8,CaseInsensitive,CaseInsensitiveUTF8}:2
        multiMatchAnyIndex:2 multiFuzzyMatchAnyIndex:3 countSubstrings:2-3
        countSubstrings{CaseInsensitive,CaseInsensitiveUTF8}:2-3 countMatches{,CaseInsensitive}:2
        bitmap{Cardinality,Min,Max} bitmap{And,Or,Xor,Andnot}Cardinality:2
        port:1-2 rank:0 dense_rank:0 row_number:0 toIntOrZero>toInt64OrZero
        arrayCount:1+ arrayUniq:1+ arrayFirstIndex:2+ arrayLastIndex:2+
    """,
    "float": """
        reinterpretAsFloat{32,64} JSONExtractFloat:1+ toFloatOrZero>toFloat64OrZero
        toFloatOrDefault:1-2>toFloat64OrDefault
    """,
    "bool": """
        {e,notE}mpty isEmpty>empty isNotEmpty>notEmpty has:2 hasAll:2 hasAny:2 hasSubstr:2 arrayExists:1+ arrayAll:1+
        isnull°>isNull isNotNull isValidJSON JSONHas:1+ JSONExtractBool:1+ isValidUTF8
        {ends,starts}With:2 multiSearchAny{,UTF8,CaseInsensitive,CaseInsensitiveUTF8}:2 match:2
        multiMatchAny:2 multiFuzzyMatchAny:3 hasSubsequence:2
        hasSubsequence{CaseInsensitive,UTF8,CaseInsensitiveUTF8}:2 hasToken:2
        hasToken{CaseInsensitive,OrNull,CaseInsensitiveOrNull}:2 has{All,Any}Tokens:2 and:2+ or:2+
        xor:2+ not° mapContains:2 mapContainsKeyLike:2 bitTest:2 bitTest{All,Any}:2+
        bitmapContains:2 bitmapHas{Any,All}:2 is{Finite,Infinite,NaN} indexHint toBool
    """,
    "string": """
        hex unhex toString:1-2 toNullableString toJSONString toTypeName timeZoneOf
        dateName:2-3 formatDateTime:2-3 monthName to_char~:2-3>formatDateTime JSON_VALUE:2
        JSONExtractString:1+ JSONExtractRaw:1+ JSONExtractKey:1+ JSONType:1+ left:2>leftUTF8
        right:2>rightUTF8 {left,right}Pad{,UTF8}:2-3 lower° upper° reverse°
        {lower,upper,reverse}UTF8 toValidUTF8 format:2+ concat°:2+ concatWithSeparator:2+
        substring°:3 substringUTF8:2-3 appendTrailingCharIfAbsent:2 convertCharset:3
        base{58,64}{En,De}code tryBase{58,64}Decode {en,de}codeXMLComponent extractTextFromHTML
        repeat:2 initcap {l,r}pad:2-3 split_part:3 ltrim:1-2>trimLeft rtrim:1-2>trimRight
        btrim:1-2>trimBoth trimLeft:1-2 trimRight:1-2 trim°:1-2>trimBoth extract°:2
        regexpExtract:2-3 regexpQuoteMeta replace°:3 replace{All,One,RegexpAll,RegexpOne}:3
        translate{,UTF8}:3 arrayStringConcat:1-2 protocol domain{,WithoutWWW} topLevelDomain
        firstSignificantSubdomain cutToFirstSignificantSubdomain
        cutToFirstSignificantSubdomainWithWWW path pathFull queryString fragment
        queryStringAndFragment extractURLParameter:2 {en,de}codeURL{,Form}Component netloc
        cut{WWW,QueryString,Fragment,QueryStringAndFragment} cutURLParameter:2 bar:4
        formatReadable{DecimalSize,Size,Quantity} formatReadableTimeDelta:1-3
        languageCodeToName
    """,
    "uuid": "reinterpretAsUUID toUUID toUUIDOrDefault:1-2",
    "date": """
        toDate to_date>toDate toMonday:1-2 toLastDayOfMonth:1-2 toLastDayOfWeek:1-3
        toStartOf{Year,ISOYear,Quarter,Month}:1-2 toStartOfWeek:1-3 date_trunc:2-3>dateTrunc
        dateTrunc:2-3 fromModifiedJulianDay make_date:3>makeDate today:0 yesterday:0 current_date:0
    """,
    "datetime": """
        toDateTime:1-2 toDateTime64:1-3 toDateTimeUS:1-2 parseDateTime:2-3
        parseDateTimeBestEffort:1-2 UUIDv7ToDateTime~:1-2 toTime:1-2 toTimeZone:1-2 timezone:2
        toStartOf{Interval}:2-4 toStartOf{Day,Hour,Minute,Second}:1-2
        toStartOf{FiveMinutes,TenMinutes,FifteenMinutes}:1-2 fromUnixTimestamp:1-2
        fromUnixTimestamp64Milli:1-2 date_bin:3 nowInBlock:0-1 now°:0-1
        current_timestamp:0-1 to_timestamp make_timestamp~:6-7>makeDateTime
        make_timestamptz:6-7>makeDateTime timeSlot:1-2
    """,
    "0": """
        {add,subtract}{Years,Months,Weeks,Days,Hours,Minutes,Seconds,Quarters}:2 date_add:2-3
        date_subtract:2-3 assumeNotNull toNullable coalesce°:1+ ifnull°:2>ifNull
        nullif°:2>nullIf greatest°:2 least°:2 lag:1-3 lead:1-3 lagInFrame:1-3 leadInFrame:1-3
        first_value last_value nth_value:2
    """,
    "1": "if°:3 multiIf:3+",
    "2": "dateAdd:2-3 dateSub:2-3 timeStampAdd:2-3 timeStampSub:2-3",
    "interval": """
        toInterval{Second,Minute,Hour,Day,Week,Month,Quarter,Year} make_interval:6
    """,
    "array": """
        array:0+ range:1-3 arrayConcat:1+ arrayEnumerate:1+ arrayEnumerateUniq:1+ arrayPopBack
        arrayPopFront arrayPushBack:2 arrayPushFront:2 arrayResize:2-3 arraySlice:2-3 arraySort:1+
        arrayReverseSort:1+>arraySort arrayDifference:1+ arrayDistinct arrayEnumerateDense:1+
        arrayIntersect:1+ arrayReverse arrayFilter:2+ arrayFlatten arrayCompact arrayZip:1+
        arrayMap:2+ arrayFill:2+ arrayReverseFill:2+ arraySplit:2+ arrayReverseSplit:2+
        arrayRotate{Left,Right}:2 arrayCumSum:1+ arrayCumSumNonNegative:1+ arrayWithConstant:2
        JSONExtract{Keys,ArrayRaw,KeysAndValuesRaw}:1+ JSONExtractKeysAndValues:2+ extractAll:2
        extractAllGroups:2 extractAllGroups{Horizontal,Vertical}:2 extractGroups:2
        multiSearchAllPositions{,UTF8,CaseInsensitive,CaseInsensitiveUTF8}:2 multiMatchAllIndices:2
        multiFuzzyMatchAllIndices:3 splitByChar:2-3 splitByString:2-3 splitByRegexp:2-3
        splitByWhitespace:1-2 splitByNonAlpha:1-2 alphaTokens:1-2 ngrams:2 tokens:1+
        extractURLParameters extractURLParameterNames URL{,Path}Hierarchy mapKeys mapValues
        bitmapToArray bitmapTransform:3 extractIPv4Substrings timeSlots:2-3 generateSeries:3
        sortableSemver° tupleToNameValuePairs
    """,
    "tuple": """
        tuple:0+ tuple{Plus,Minus,Multiply,Divide}:2 tupleNegate
        tuple{MultiplyByNumber,DivideByNumber}:2 {L1,L2,Linf}Normalize LpNormalize:2 tumble:2-3
        hop:3-4
    """,
    "map": """
        map:0+ mapFromArrays:2 map{Add,Subtract}:1+ mapPopulateSeries:1-3 mapExtractKeyLike:2
        mapApply:2 mapFilter:2 mapUpdate:2
    """,
    "unknown": """
        arrayElement:2 arrayJoin arrayReduce:2+ arrayFold:3+ arrayFirst:2+ arrayLast:2+ toInt
        toFloat toDecimal:2 transform:3-4 JSONExtract:1+ tupleElement:2-3 untuple
        bitSlice:2-3 subBitmap:3 bitmapBuild bitmapSubset{InRange,Limit}:3
        bitmap{And,Or,Xor,Andnot}:2 tumble{Start,End}:1-3 hop{Start,End}:1-4
        _toInt{8,16,32,64} _toUInt{64,128} _toDate _toNullableBool
    """,
}


@cache
def scalar_functions() -> Mapping[str, Function]:
    """Return the functions by name."""
    found: dict[str, Function] = {}
    for kind, text in _TABLE.items():
        found.update(read(kind, text))
    return found
