package httpapi

import (
	"net/url"
	"testing"

	"github.com/edgekit/edgekit/hub/decodetest"
)

func TestAttackDecoders(t *testing.T) {
	decodetest.Search(t, decodetest.Case{
		Name: "twin_http_desired", Before: "{", Between: ",", After: "}", Units: []string{`"a":""`, `"a":null`, `"a":0`, `"a":[]`}, Tokens: decodetest.JSONTokens(),
		Whole: [][]byte{decodetest.Keys(`{`, `""`, `}`)}, Decode: func(b []byte) { _, _ = decodeDesired(b) },
	})
}

func FuzzDesired(f *testing.F) {
	f.Add([]byte(`{"target":"25"}`))
	f.Add([]byte(`{"target":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if values, err := decodeDesired(body); (err == nil) != (len(values) > 0) {
			t.Errorf("%v %v", values, err)
		}
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("device=a/b&property=x&every=1s&equal=false", "5")
	f.Add("property=x&from=1&to=9999999999999&limit=10&after=3", "")
	f.Fuzz(func(t *testing.T, text, last string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		if o, _, err := watchOptions(query, last); err == nil && (o.Every < 0 || o.Heartbeat < 0) {
			t.Errorf("%+v", o)
		}
		if q, err := historyQuery(query); err == nil && (q.Limit < 0 || q.Property == "") {
			t.Errorf("%+v", q)
		}
	})
}
