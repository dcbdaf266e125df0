package script

import (
	"errors"
	"testing"

	"github.com/central-ops/central-ops/services/bridge"
)

// FuzzParse holds that a script's value, whatever it is, answers no Region that was not asked for, none twice, and
// none with rows beside an error.
func FuzzParse(f *testing.F) {
	for _, value := range []string{
		`{"regions":{"us-east-1":{"document":{"Vpcs":[]},"calls":1,"more":false}},"enabled":["us-east-1","eu-west-1"]}`,
		`{"regions":{"us-east-1":{"document":{},"error":"ClientError('x')"},"mars-1":{}}}`, `{"regions":{"us-east-1":null}}`,
		`{"regions":[]}`, `{"regions":{}}`, `null`, `{"regions":{"us-east-1":{"calls":1e99}}}`, `{"regions":{"us-east-1":{"document":{"NextToken":"x"}}}}`,
	} {
		f.Add([]byte(value))
	}
	ask := bridge.Ask{Operation: bridge.Operation{Service: "ec2", Name: "DescribeVpcs"}, Regions: []string{"us-east-1", "eu-west-1"}, Enabled: true, Home: "us-east-1"}
	f.Fuzz(func(t *testing.T, raw []byte) {
		regions, _, err := Parse(raw, ask, func(text string) error { return errors.New(text) })
		if err != nil && len(regions) > 0 {
			t.Errorf("%q: %v, and %d regions", raw, err, len(regions))
		}
		seen := map[string]bool{}
		for _, r := range regions {
			if seen[r.Region] || r.Region != "us-east-1" && r.Region != "eu-west-1" || r.Err != nil && r.Document != nil {
				t.Errorf("%q was read as %+v", raw, regions)
			}
			seen[r.Region] = true
		}
	})
}
