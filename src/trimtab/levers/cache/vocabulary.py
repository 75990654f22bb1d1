"""Word lists of English that the vetoes and the features read. Knows no rule."""

from __future__ import annotations


def words(text: str) -> frozenset[str]:
    """The words of a list written as one text."""
    return frozenset(text.split())


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((one, two) for one, _, two in (pair.partition("/") for pair in text.split()))


# Words that carry no topic; auxiliaries are among them, so that a negation's scope starts behind them.
FUNCTION = words(
    "a an the this that these those some any all each every both such of to in on at by for from with into onto upon"
    " about as than then so and or but if while because though although i me my mine myself you your yours he him his"
    " she her hers it its we us our ours they them their theirs there here am is are was were be been being do does did"
    " doing done have has had having will would shall should can could may might must ought am just also too very"
    " really please still yet already even ever again now well hello hi hey thanks thank anyone someone anybody"
    " somebody something anything everything everyone how what why when where who whom whose which got get getting"
    " let lets own same other another much many more most few less least only quite rather bit lot lots kind sort"
    " way ok okay oh um s t d m re ve ll up down out off over under"
)
QUESTION = ("how", "what", "why", "when", "where", "who", "whom", "whose", "which")
ASKING = words("can could is are was were do does did should would will may am has have")

NEGATORS = words(
    "not no never without cannot nor neither hardly barely rarely seldom scarcely unable impossible except excluding"
    " avoid avoiding avoids prevent prevents preventing instead"
)
# What takes `to` or a gerund behind it before it denies anything: "failed to arrive", "stopped working".
FAILING = words("fail fails failed failing refuse refuses refused refusing decline declines")
CEASING = words("stop stops stopped stopping cease ceases ceased quit quits")
NOBODY = words("nothing nobody none nowhere noone")
# Verbs that say little, so that what is denied is also the word behind them.
LIGHT = words(
    "want wants wanted need needs needed like likes liked use uses used using make makes made take takes took give"
    " gives gave go goes went see sees let lets keep keeps try tries tried allow allows allowed accept accepts able"
    " support supports supported show shows include includes included contain contains offer offers sell sells come"
    " comes know knows find finds think receive receives received"
)

ANTONYMS = _pairs(
    " enable/disable open/close increase/decrease raise/lower before/after first/last buy/sell send/receive"
    " add/remove start/stop begin/end good/bad best/worst better/worse max/min maximum/minimum deposit/withdraw"
    " pros/cons lock/unlock activate/deactivate old/new export/import more/less most/least upload/download"
    " install/uninstall connect/disconnect subscribe/unsubscribe win/lose hot/cold cheap/expensive"
    " cheapest/priciest high/low higher/lower highest/lowest fast/slow faster/slower fastest/slowest large/small"
    " larger/smaller big/little big/small bigger/smaller biggest/smallest long/short longer/shorter"
    " longest/shortest early/late earlier/later earliest/latest arrive/depart arrival/departure inside/outside"
    " indoor/outdoor indoors/outdoors top/bottom front/back push/pull accept/reject accept/decline accept/refuse"
    " approve/reject approve/deny allow/forbid allow/block allow/ban allow/prohibit legal/illegal safe/dangerous"
    " safe/unsafe easy/hard easy/difficult easier/harder hire/fire lend/borrow credit/debit gain/loss gain/lose"
    " profit/loss import/export show/hide mute/unmute pause/resume freeze/unfreeze block/unblock follow/unfollow"
    " encrypt/decrypt encode/decode compress/decompress expand/collapse expand/shrink expand/contract grow/shrink"
    " strengthen/weaken strong/weak stronger/weaker rich/poor hate/love like/dislike agree/disagree"
    " appear/disappear success/failure succeed/fail pass/fail positive/negative advantage/disadvantage"
    " benefit/drawback public/private manual/automatic online/offline single/married male/female man/woman"
    " men/women boy/girl husband/wife mother/father parent/child buyer/seller landlord/tenant employer/employee"
    " lender/borrower teacher/student day/night morning/evening summer/winter north/south east/west"
    " northern/southern eastern/western northbound/southbound eastbound/westbound upper/lower horizontal/vertical"
    " ascending/descending ascend/descend enter/exit entrance/exit include/exclude included/excluded"
    " inclusive/exclusive internal/external inbound/outbound incoming/outgoing input/output visible/invisible"
    " cancel/renew cancel/confirm cancel/keep create/delete create/destroy insert/delete save/delete keep/delete"
    " keep/discard join/leave build/demolish assemble/disassemble attach/detach attract/repel ask/answer"
    " question/answer full/empty fill/empty heavy/light heavier/lighter thick/thin wide/narrow deep/shallow"
    " wet/dry clean/dirty hard/soft loud/quiet bright/dark dark/light sharp/blunt tight/loose loosen/tighten"
    " true/false alive/dead young/old younger/older youngest/oldest present/absent ancient/modern"
    " temporary/permanent major/minor majority/minority optional/mandatory optional/required voluntary/compulsory"
    " forward/backward forwards/backwards upstream/downstream uphill/downhill upgrade/downgrade"
    " upstairs/downstairs inner/outer maximise/minimise maximize/minimize often/seldom frequent/rare common/rare"
    " always/never everything/nothing everyone/nobody everybody/nobody everywhere/nowhere above/below"
    " minimum/maximum prevent/cause cause/cure help/hurt help/harm improve/worsen heal/harm healthy/unhealthy"
    " guilty/innocent attack/defend victory/defeat war/peace friend/enemy ally/enemy plus/minus multiply/divide"
    " sum/difference sunrise/sunset dawn/dusk birth/death born/died borrow/return rise/fall rising/falling"
    " sweet/sour sweet/bitter raw/cooked fresh/stale fresh/frozen freeze/melt freeze/thaw boil/freeze heat/cool"
    " warm/cool warm/cold hotter/colder hottest/coldest wake/sleep stand/sit sink/float lift/drop throw/catch"
    " find/lose lost/found remember/forget encourage/discourage admit/deny confess/deny praise/criticize"
    " reward/punish rewarded/punished attended/missed pay/refund charge/refund charge/discharge purchase/return"
    " dispatch/receive minor/adult odd/even prime/composite acid/base liquid/solid domestic/international"
    " domestic/foreign local/foreign urban/rural physical/virtual analog/digital wired/wireless front/rear"
    " whole/half junior/senior beginner/expert novice/expert formal/informal active/passive optimistic/pessimistic"
    " optimist/pessimist simple/complex simple/complicated simplify/complicate partial/complete partial/full"
    " lead/follow leader/follower predecessor/successor ancestor/descendant cause/effect supply/demand"
    " income/expense income/expenditure revenue/cost surplus/deficit savings/checking virtual/physical plug/unplug"
    " zip/unzip archive/unarchive hide/unhide wrap/unwrap tie/untie fold/unfold pack/unpack load/unload"
    " mount/unmount register/unregister read/write"
)
# Opposite only behind these verbs, for alone both are function words: "log in", "opt out".
INWARD = words("log logs logged logging sign signs signed signing check checks checked checking opt opted opting")
INWARD |= words("clock clocked zoom zoomed phase")
PREFIXES = ("un", "dis", "de", "in", "im", "il", "ir", "non", "mis", "anti")

NUMBERS = {
    word: value
    for value, words in (
        (0, "zero"), (2, "two"), (3, "three"), (4, "four"), (5, "five"), (6, "six"), (7, "seven"), (8, "eight"),
        (9, "nine"), (10, "ten"), (11, "eleven"), (12, "twelve dozen"), (13, "thirteen"), (14, "fourteen"),
        (15, "fifteen"), (16, "sixteen"), (17, "seventeen"), (18, "eighteen"), (19, "nineteen"), (20, "twenty"),
        (30, "thirty"), (40, "forty"), (50, "fifty"), (60, "sixty"), (70, "seventy"), (80, "eighty"), (90, "ninety"),
    )
    for word in words.split()
}  # fmt: skip
# "one" and "second" are mostly no numbers.
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "k": 1000, "m": 10**6, "bn": 10**9}
ORDINALS = {
    word: place
    for place, word in enumerate(("third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"), start=3)
}

UNITS = {
    word: words.split()[0]
    for words in (
        "percent % pct", "km kilometer kilometers kilometre kilometres kms", "mile miles mi",
        "m meter meters metre metres",
        "cm centimeter centimeters centimetre centimetres", "mm millimeter millimeters", "inch inches", "foot feet ft",
        "yard yards yd", "kg kilogram kilograms kilo kilos kgs", "g gram grams", "mg milligram milligrams",
        "lb lbs pound_weight", "oz ounce ounces", "ton tons tonne tonnes", "l liter liters litre litres",
        "ml milliliter milliliters", "gallon gallons", "cup cups", "tablespoon tablespoons tbsp",
        "teaspoon teaspoons tsp", "ms millisecond milliseconds", "second seconds sec secs", "minute minutes min mins",
        "hour hours hr hrs", "day days", "week weeks", "month months", "year years yr yrs", "celsius", "fahrenheit",
        "kelvin", "kb kilobyte kilobytes", "mb megabyte megabytes", "gb gigabyte gigabytes", "tb terabyte terabytes",
        "mbps", "gbps", "mhz", "ghz", "watt watts w", "kw kilowatt kilowatts", "kwh", "volt volts v", "amp amps",
        "calorie calories", "kcal", "joule joules", "mph", "kph kmh", "psi", "acre acres", "hectare hectares",
        "usd $ dollar dollars buck bucks", "eur € euro euros", "gbp £ pound pounds quid sterling",
        "jpy ¥ yen", "inr ₹ rupee rupees", "cny yuan renminbi rmb", "chf franc francs", "aud", "cad", "nzd",
        "sek", "nok", "dkk krone kroner", "pln zloty", "rub ruble rubles rouble roubles", "mxn peso pesos", "brl",
        "krw", "btc bitcoin", "eth ethereum ether", "cent cents", "pence penny",
    )
    for word in words.split()
}  # fmt: skip
CURRENCIES = words("usd eur gbp jpy inr cny chf aud cad nzd sek nok dkk pln rub mxn brl krw btc eth")
# One of these against another is another question even where no number stands before it.
MEASURES = words(
    "percent km mile kg lb oz celsius fahrenheit kelvin kb mb gb tb liter l ml gallon cup tablespoon teaspoon"
) | words("second minute hour day week month year inch foot yard cm mm acre hectare")

MONTHS = {
    word: name
    for name, words in (
        ("january", "january jan"), ("february", "february feb"), ("march", "march"), ("april", "april apr"),
        ("june", "june jun"), ("july", "july jul"), ("august", "august aug"), ("september", "september sept sep"),
        ("october", "october oct"), ("november", "november nov"), ("december", "december dec"),
    )
    for word in words.split()
}  # fmt: skip
WEEKDAYS = {
    word: word.rstrip("s")
    for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "weekend", "weekday")
    for word in (day, f"{day}s")
}
MOMENTS = words("today tomorrow yesterday tonight overnight noon midnight easter christmas thanksgiving halloween")

# Names that are written small in chats; others are known by their capital letter.
PLACES = words(
    "afghanistan albania algeria argentina armenia australia austria bahrain bangladesh belarus belgium bolivia"
    " bosnia botswana brazil britain bulgaria cambodia cameroon canada chile china colombia croatia cuba cyprus"
    " czechia denmark ecuador egypt england estonia ethiopia fiji finland france georgia germany ghana greece"
    " guatemala haiti honduras hungary iceland india indonesia iran iraq ireland israel italy jamaica japan jordan"
    " kazakhstan kenya kuwait latvia lebanon libya lithuania luxembourg malaysia malta mexico moldova mongolia"
    " montenegro morocco mozambique myanmar namibia nepal netherlands nicaragua nigeria norway oman pakistan panama"
    " paraguay peru philippines poland portugal qatar romania russia rwanda scotland senegal serbia singapore slovakia"
    " slovenia somalia spain sudan sweden switzerland syria taiwan tanzania thailand tunisia uganda ukraine uruguay"
    " usa uk america uzbekistan venezuela vietnam wales yemen zambia zimbabwe europe asia africa"
    " amsterdam athens atlanta austin baltimore bangkok barcelona beijing belfast berlin birmingham boston brisbane"
    " brussels bucharest budapest cairo calgary chicago cleveland cologne copenhagen dallas delhi denver detroit dubai"
    " dublin edinburgh florence frankfurt geneva glasgow hamburg hanoi helsinki houston istanbul jakarta jerusalem"
    " johannesburg karachi kiev kyiv lagos leeds lima lisbon liverpool london lyon madrid manchester manila marseille"
    " melbourne miami milan minneapolis montreal moscow mumbai munich nairobi naples nashville oakland orlando osaka"
    " oslo ottawa oxford paris perth philadelphia phoenix pittsburgh portland prague quebec rome rotterdam sacramento"
    " santiago seattle seoul shanghai sofia stockholm stuttgart sydney tampa tehran tokyo toronto tucson turin valencia"
    " vancouver venice vienna vilnius warsaw washington wellington zagreb zurich alabama alaska arizona arkansas"
    " california colorado connecticut delaware florida hawaii idaho illinois indiana iowa kansas kentucky louisiana"
    " maine maryland massachusetts michigan minnesota mississippi missouri montana nebraska nevada ohio oklahoma oregon"
    " pennsylvania tennessee texas utah vermont virginia wisconsin wyoming york"
)
TONGUES = words(
    "english french german spanish italian portuguese dutch russian chinese japanese korean arabic hindi urdu bengali"
    " turkish polish swedish norwegian danish finnish greek hebrew thai vietnamese czech hungarian romanian ukrainian"
    " latin mandarin cantonese punjabi tamil telugu swahili american british canadian australian mexican indian irish"
)
BRANDS = words(
    "google facebook amazon microsoft netflix spotify uber lyft paypal visa mastercard amex samsung iphone android"
    " ios windows linux macos ubuntu toyota honda ford tesla bmw audi nissan chevrolet hyundai kia volkswagen"
    " whatsapp instagram twitter youtube tiktok linkedin python java javascript typescript rust golang kotlin swift"
    " ruby php perl mysql postgres postgresql mongodb redis docker kubernetes aws azure gcp github gitlab chrome"
    " firefox safari venmo stripe revolut costco walmart starbucks mcdonalds"
)
COLOURS = words("red blue green yellow orange purple pink brown black white grey gray silver gold")
PEOPLE = words(
    "adam alice amy andrew angela anna anthony barbara ben betty bob brian carol charles charlotte chris"
    " christine daniel david deborah dennis diana donald donna dorothy edward elizabeth emily emma eric frank"
    " gary george gregory hannah harry helen henry isabella jacob james jane janet jason jeffrey jennifer"
    " jessica john jonathan joseph joshua julia karen kate katherine kevin kimberly larry laura lisa lucas lucy"
    " margaret maria martin mary matthew melissa michael michelle nancy nick nicole oliver olivia pamela"
    " patricia patrick paul peter rachel rebecca richard robert ronald ruth ryan samuel sandra sarah scott"
    " sharon simon sophia stephen steven susan thomas timothy tom walter william"
)
NAMES = PEOPLE | PLACES | TONGUES | BRANDS | COLOURS
