package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// maxAnswer is the largest answer of TDengine that is read, in bytes.
const maxAnswer = 64 << 10

// TDEngine is the Opener of push.MethodTDEngine. It speaks TDengine's REST interface (taosAdapter,
// port 6041), as the client taosRestful of mappers of KubeEdge does. A device is the supertable
// NAMESPACE/DEVICE with the columns ts, deviceid, propertyname, data and type; a property is its
// table NAMESPACE/DEVICE/PROPERTY. The secrets are "username" and "password".
func TDEngine(target schema.PushMethod, secret push.Secret) (push.Sink, error) {
	c := target.DB.TDEngine.Client
	if c == nil || c.Addr == "" || c.DBName == "" {
		return nil, errors.New("device/sinks: dbMethod.TDEngine.TDEngineClientConfig: addr and dbName are required: HOST:6041 and the name of the database")
	}
	u := &url.URL{Scheme: "http", Host: c.Addr, Path: "/rest/sql/" + c.DBName}
	if scheme, host, ok := strings.Cut(c.Addr, "://"); ok {
		u.Scheme, u.Host = scheme, host
	}
	if u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Host, "/@ ") {
		return nil, fmt.Errorf("device/sinks: dbMethod.TDEngine.TDEngineClientConfig.addr %.100q is no address: use HOST:6041 or https://HOST:6041", c.Addr)
	}
	return &tdengineSink{
		url: u.String(), username: secret(push.MethodTDEngine, "username"), password: secret(push.MethodTDEngine, "password"),
		client: &http.Client{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2}}, tables: make(map[string]bool),
	}, nil
}

type tdengineSink struct {
	url                string
	username, password string
	client             *http.Client
	tables             map[string]bool // supertables that are known to be there
}

// Write inserts all readings in one statement.
func (s *tdengineSink) Write(ctx context.Context, readings []push.Reading) (int, error) {
	var sql strings.Builder
	sql.WriteString("INSERT INTO")
	for _, r := range readings {
		if !s.tables[r.Device] {
			if len(s.tables) > 10_000 {
				clear(s.tables)
			}
			err := s.exec(ctx, "CREATE STABLE IF NOT EXISTS "+identifier(r.Device)+
				" (ts TIMESTAMP, deviceid BINARY(512), propertyname BINARY(128), data BINARY(4096), type BINARY(16)) TAGS (location BINARY(128))")
			if err != nil {
				return 0, err
			}
			s.tables[r.Device] = true
		}
		fmt.Fprintf(&sql, " %s USING %s TAGS (%s) VALUES (%s, %s, %s, %s, %s)", identifier(r.Device+"/"+r.Property), identifier(r.Device), literal(r.Property),
			strconv.FormatInt(r.Time, 10), literal(r.Device), literal(r.Property), literal(r.Value), literal(string(r.Type)))
	}
	err := s.exec(ctx, sql.String())
	switch {
	case err == nil:
		return len(readings), nil
	case !errors.Is(err, push.ErrRefused) || len(readings) == 1:
		clear(s.tables) // one may be gone
		return 0, err
	}
	for i, r := range readings { // which one is it
		if _, err := s.Write(ctx, []push.Reading{r}); err != nil {
			return i, err
		}
	}
	return len(readings), nil
}

// exec executes one statement.
func (s *tdengineSink) exec(ctx context.Context, sql string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, strings.NewReader(sql))
	if err != nil {
		return fmt.Errorf("device/sinks: tdengine: %w", err)
	}
	r.SetBasicAuth(s.username, s.password)
	answer, err := s.client.Do(r)
	if err != nil {
		return fmt.Errorf("device/sinks: tdengine: %w", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("device/sinks: tdengine: %w", err)
	}
	var result struct {
		Code int64  `json:"code"`
		Desc string `json:"desc"`
	}
	if err := json.Unmarshal(body, &result); err != nil {
		return fmt.Errorf("device/sinks: tdengine: status %s without a result", answer.Status)
	}
	switch result.Code {
	case 0:
		return nil
	case 0x2600, 0x2653, 0x0216, 0x2605: // syntax, value too long, wrong name, wrong value
		return fmt.Errorf("%w: tdengine: code %#x: %.200s", push.ErrRefused, result.Code, result.Desc)
	}
	return fmt.Errorf("device/sinks: tdengine: code %#x: %.200s", result.Code, result.Desc)
}

// identifier quotes a name. A backtick has no form in a name.
func identifier(name string) string { return "`" + strings.ReplaceAll(name, "`", "_") + "`" }

// literal quotes a text.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'"
}

func (s *tdengineSink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}
