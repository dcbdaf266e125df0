package planner

import (
	"regexp"
	"strings"
	"unicode"
)

// word is one word of a question. A word that some rule has read is used; what is left over in the end is reported.
type word struct {
	text   string // as written, without quotes
	low    string // lower case
	quoted bool
	used   bool
}

// closing gives the closing mark of each opening quotation mark.
var closing = map[rune]rune{'"': '"', '“': '”', '„': '“', '`': '`', '\'': '\'', '‘': '’'}

// split cuts a question into words. Quoted text is one word; commas are words of their own because they separate names.
func split(text string) []word {
	var words []word
	var current strings.Builder
	flush := func() {
		if w := trimWord(current.String()); w != "" {
			words = append(words, word{text: w, low: strings.ToLower(w)})
		}
		current.Reset()
	}
	runes := []rune(text)
	for i := 0; i < len(runes); i++ {
		r := runes[i]
		if end, ok := closing[r]; ok && current.Len() == 0 {
			if n := indexRune(runes[i+1:], end); n > 0 {
				quoted := strings.TrimSpace(string(runes[i+1 : i+1+n]))
				if quoted != "" {
					words = append(words, word{text: quoted, low: strings.ToLower(quoted), quoted: true})
				}
				i += n + 1
				continue
			}
		}
		switch {
		case r == ',' || r == ';':
			flush()
			words = append(words, word{text: ",", low: ","})
		case unicode.IsSpace(r) || strings.ContainsRune("?!()[]\"“”`", r):
			flush()
		default:
			current.WriteRune(r)
		}
	}
	flush()
	return words
}

func indexRune(runes []rune, r rune) int {
	for i, x := range runes {
		if x == r {
			return i
		}
	}
	return -1
}

// trimWord takes off punctuation at the ends, and the possessive.
func trimWord(w string) string {
	w = strings.Trim(w, ".:'’‘…-–—")
	for _, s := range []string{"'s", "’s"} {
		w = strings.TrimSuffix(w, s)
	}
	return w
}

var (
	regionPattern    = regexp.MustCompile(`^[a-z]{2}(-gov|-iso[a-z]?)?-(north|south|east|west|central)(east|west)?-\d$`)
	accountPattern   = regexp.MustCompile(`^\d{12}$|^\d{4}-\d{4}-\d{4}$`)
	resourcePattern  = regexp.MustCompile(`^(i|sg|vpc|subnet|vol)-[0-9a-f]{8,17}$`)
	typePattern      = regexp.MustCompile(`^(db\.)?[a-z][a-z0-9-]*\d[a-z0-9-]*\.(nano|micro|small|medium|large|metal|\d*xlarge|metal-\d+xl)$`)
	familyPattern    = regexp.MustCompile(`^(t2|t3|t3a|t4g|m[4-8][a-z]*|c[4-8][a-z]*|r[4-8][a-z]*|x[12][a-z]*|g[4-6][a-z]*|p[2-6][a-z]*|i[34][a-z]*)$`)
	runtimePattern   = regexp.MustCompile(`^(python|nodejs|java|dotnet|ruby|go|provided)[0-9.]*[a-z0-9.]*$`)
	enginePattern    = regexp.MustCompile(`^(postgres|postgresql|mysql|mariadb|aurora|oracle|sqlserver)(-[a-z]+)?$`)
	regionLike       = regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx|cn)-?(gov-?)?(north|south|east|west|central)(east|west)?-?\d*$`)
	versionPattern   = regexp.MustCompile(`^v?(\d+(?:\.(?:\d+|x))?)$`)
	portPattern      = regexp.MustCompile(`^\d{1,5}$`)
	selectorPattern  = regexp.MustCompile(`^(env|environment|tag|name|id):\S+$`)
	resourceNameLike = regexp.MustCompile(`[0-9_-]`)
)

// cities are the places by which people call Regions
// (https://docs.aws.amazon.com/global-infrastructure/latest/regions/aws-regions.html, read 2026-11-24).
var cities = map[string]string{
	"virginia": "us-east-1", "n virginia": "us-east-1", "northern virginia": "us-east-1", "ohio": "us-east-2",
	"california": "us-west-1", "northern california": "us-west-1", "oregon": "us-west-2",
	"ireland": "eu-west-1", "dublin": "eu-west-1", "london": "eu-west-2", "paris": "eu-west-3", "frankfurt": "eu-central-1",
	"zurich": "eu-central-2", "stockholm": "eu-north-1", "milan": "eu-south-1", "spain": "eu-south-2",
	"mumbai": "ap-south-1", "hyderabad": "ap-south-2", "singapore": "ap-southeast-1", "sydney": "ap-southeast-2",
	"jakarta": "ap-southeast-3", "melbourne": "ap-southeast-4", "tokyo": "ap-northeast-1", "seoul": "ap-northeast-2",
	"osaka": "ap-northeast-3", "hong kong": "ap-east-1", "montreal": "ca-central-1", "calgary": "ca-west-1",
	"sao paulo": "sa-east-1", "são paulo": "sa-east-1", "bahrain": "me-south-1", "tel aviv": "il-central-1", "cape town": "af-south-1",
}

// environments maps the usual words for environments to the usual names of them.
var environments = map[string]string{
	"prod": "prod", "prd": "prod", "production": "prod", "live": "prod", "dev": "dev", "development": "dev",
	"stage": "staging", "staging": "staging", "stg": "staging", "preprod": "preprod", "test": "test", "qa": "qa", "uat": "uat",
	"sandbox": "sandbox", "shared": "shared",
}

// plainEnvironments are so seldom anything else that they count without "in".
var plainEnvironments = set("prod prd production dev development staging stg preprod qa uat")

// longEnvironments are as likely the name of an account: that reading is tried first.
var longEnvironments = set("production development")

var states = map[string]string{
	"running": "running", "stopped": "stopped", "terminated": "terminated", "pending": "pending", "stopping": "stopping",
	"available": "available", "idle": "stopped", "active": "running",
}

// writeVerbs change something. In a question about what there is they don't occur in this form.
var writeVerbs = set(`abort add allow assign associate attach authorize cancel change copy create decommission delete deploy
	deregister detach disable disassociate drain drop edit enable erase grant halt kill launch modify move patch provision purge put
	reboot rebuild rename remove replace reset resize restart restore revoke rotate scale shutdown spin start stop suspend
	terminate undeploy unlock update upgrade upload wipe write destroy`)

// exclusions leave something out or turn a condition around.
var exclusions = set("not no non except excepting excluding excludes exclude outside besides without never neither nor cannot minus")

// moneyWords ask what something costs.
var moneyWords = set("spend spends spent spending cost costs costing bill billed invoice invoices expensive cheap cheapest savings")

// secretWords ask for what is never read.
var secretWords = set("secret secrets password passwords credential credentials")

// prepositions come before what limits a question to accounts.
var prepositions = set("in for from of on within inside across at under about only just does do has and")

// fillers carry no meaning of their own: they may be left over without a remark.
var fillers = set(`a about across tagged account accounts actually again all also always am compare still an and any anything are as ask at be been belong
	belongs by can check contain contains could count counts currently deployed describe display do does each else environment environments env envs
	every everything exist existing exists find for from get give got had has have having hello here hey hi hold holds how i id if in inside
	into is it its just kind kinds know let list lists live located look looking lot many may me much my name named names need
	no not now number of off okay ok on one ones only or our out over overview own owned owns place please present print query really run runs region regions report
	resource resources right running sees see setup show so some summarise summarize table tell than thank thanks that the their them then there these they thing
	things this those to today together total totals type types under up us use used uses using via want was we well were what whats where
	whether which who will with within would you your state status aws cloud same both both lives size sizes ids there's`)

func set(list string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(list) {
		m[w] = true
	}
	return m
}
