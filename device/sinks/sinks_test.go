package sinks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/sinks"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func secret(method, name string) string { return method + "'s " + name }

func none(string, string) string { return "" }

func reading(property, value string, typ schema.Type, ms int64) push.Reading {
	return push.Reading{Device: "plant/boiler", Property: property, Value: value, Type: typ, Time: 1760000000000 + ms}
}

func influx(address string) schema.PushMethod {
	return schema.PushMethod{DB: &schema.PushDB{InfluxDB2: &schema.PushInfluxDB2{
		Client: &schema.InfluxDB2ClientConfig{URL: address, Org: "o", Bucket: "b"},
		Data:   &schema.InfluxDB2DataConfig{Measurement: "m", Tag: map[string]string{"hall": "7"}},
	}}}
}

// TestInfluxDB2 has a fake that takes what InfluxDB 2 takes: the path, the token, and lines.
func TestInfluxDB2(t *testing.T) {
	var lines []string
	status := http.StatusNoContent
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Method != http.MethodPost || r.URL.Path != "/api/v2/write" || q.Get("org") != "o" || q.Get("bucket") != "b" || q.Get("precision") != "ms" || r.Header.Get("Authorization") != "Token influxdb2's token" {
			t.Errorf("request is %s %s %v", r.Method, r.URL, r.Header)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		switch {
		case status != http.StatusNoContent:
			w.WriteHeader(status)
		case strings.Contains(string(body), "conflict"):
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			_, _ = io.WriteString(w, `{"code":"unprocessable entity","message":"field type conflict"}`)
		default:
			lines = append(lines, strings.Split(strings.TrimSpace(string(body)), "\n")...)
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	defer server.Close()
	s, err := sinks.InfluxDB2(influx(server.URL), secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	n, err := s.Write(t.Context(), []push.Reading{
		reading("count", "3", schema.TypeInt, 0), reading("temperature", "21.5", schema.TypeFloat, 1), reading("on", "true", schema.TypeBoolean, 2), reading("name", "a \"b\"", schema.TypeString, 3),
	})
	if n != 4 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	want := []string{
		`m,device=plant/boiler,hall=7,property=count value=3i 1760000000000`,
		`m,device=plant/boiler,hall=7,property=temperature value=21.5 1760000000001`,
		`m,device=plant/boiler,hall=7,property=on value=true 1760000000002`,
		`m,device=plant/boiler,hall=7,property=name value="a \"b\"" 1760000000003`,
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
	n, err = s.Write(t.Context(), []push.Reading{reading("a", "1", "", 4), reading("conflict", "1", "", 5), reading("b", "1", "", 6)})
	if n != 1 || !errors.Is(err, push.ErrRefused) {
		t.Errorf("a point that is refused: got %d, %v", n, err)
	}
	status = http.StatusUnauthorized
	if n, err = s.Write(t.Context(), []push.Reading{reading("a", "1", "", 7)}); n != 0 || err == nil || errors.Is(err, push.ErrRefused) || strings.Contains(err.Error(), "token") {
		t.Errorf("a wrong token: got %d, %v, want an error that may pass, without the token", n, err)
	}
}

// TestTDEngine has a fake of TDengine's REST interface, which takes only statements of the
// forms that TDengine documents.
func TestTDEngine(t *testing.T) {
	var statements []string
	code := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if r.Method != http.MethodPost || r.URL.Path != "/rest/sql/db" || user != "TDengine's username" || password != "TDengine's password" {
			t.Errorf("request is %s %s of %s", r.Method, r.URL, user)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		result := code
		if strings.Contains(string(body), "too long") {
			result = 0x2653
		}
		if result == 0 {
			statements = append(statements, string(body))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"code": result, "desc": "reason"})
	}))
	defer server.Close()
	s, err := sinks.TDEngine(schema.PushMethod{DB: &schema.PushDB{TDEngine: &schema.PushTDEngine{Client: &schema.TDEngineClientConfig{Addr: strings.TrimPrefix(server.URL, "http://"), DBName: "db"}}}}, secret)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Write(t.Context(), []push.Reading{reading("temperature", "21", schema.TypeInt, 0), reading("name", `it's \`, "", 1)}); n != 2 || err != nil {
		t.Fatalf("got %d, %v", n, err)
	}
	want := []string{
		"CREATE STABLE IF NOT EXISTS `plant/boiler` (ts TIMESTAMP, deviceid BINARY(512), propertyname BINARY(128), data BINARY(4096), type BINARY(16)) TAGS (location BINARY(128))",
		"INSERT INTO `plant/boiler/temperature` USING `plant/boiler` TAGS ('temperature') VALUES (1760000000000, 'plant/boiler', 'temperature', '21', 'INT')" +
			" `plant/boiler/name` USING `plant/boiler` TAGS ('name') VALUES (1760000000001, 'plant/boiler', 'name', 'it\\'s \\\\', '')",
	}
	if !slices.Equal(statements, want) {
		t.Errorf("got  %q\nwant %q", statements, want)
	}
	if n, err := s.Write(t.Context(), []push.Reading{reading("a", "1", "", 2), reading("b", "too long", "", 3)}); n != 1 || !errors.Is(err, push.ErrRefused) {
		t.Errorf("a value that is refused: got %d, %v", n, err)
	}
	code = 0x0357
	if n, err := s.Write(t.Context(), []push.Reading{reading("a", "1", "", 4)}); n != 0 || err == nil || errors.Is(err, push.ErrRefused) {
		t.Errorf("a wrong password: got %d, %v", n, err)
	}
}

// TestSettings has settings that are wrong; the error names the field.
func TestSettings(t *testing.T) {
	db := func(d schema.PushDB) schema.PushMethod { return schema.PushMethod{DB: &d} }
	for _, tt := range []struct {
		open   push.Opener
		target schema.PushMethod
		says   string
	}{
		{sinks.Redis, db(schema.PushDB{Redis: &schema.PushRedis{}}), "addr"},
		{sinks.Redis, db(schema.PushDB{Redis: &schema.PushRedis{Client: &schema.RedisClientConfig{Addr: "a", DB: -1}}}), "negative"},
		{sinks.MySQL, db(schema.PushDB{MySQL: &schema.PushMySQL{}}), "database"},
		{sinks.MySQL, db(schema.PushDB{MySQL: &schema.PushMySQL{Client: &schema.MySQLClientConfig{Addr: "a"}}}), "database"},
		{sinks.InfluxDB2, db(schema.PushDB{InfluxDB2: &schema.PushInfluxDB2{}}), "bucket"},
		{sinks.InfluxDB2, db(schema.PushDB{InfluxDB2: &schema.PushInfluxDB2{Client: &schema.InfluxDB2ClientConfig{URL: "http://a", Org: "o", Bucket: "b"}}}), "measurement"},
		{sinks.TDEngine, db(schema.PushDB{TDEngine: &schema.PushTDEngine{}}), "dbName"},
		{sinks.TDEngine, db(schema.PushDB{TDEngine: &schema.PushTDEngine{Client: &schema.TDEngineClientConfig{Addr: "ftp://a", DBName: "d"}}}), "addr"},
	} {
		if _, err := tt.open(tt.target, none); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: got %v", tt.says, err)
		}
	}
}

func ExampleAll() {
	open := push.Merge(sinks.All(), map[string]push.Opener{push.MethodHTTP: push.HTTP})
	_, ok := open[push.MethodRedis]
	fmt.Println(len(open), ok)
	// Output: 5 true
}
