package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/edgekit/edgekit/device/v1beta1/schema"
)

// maxAnswer is how much of an answer is read, so that the connection can be used again.
const maxAnswer = 64 << 10

// HTTP is the Opener of MethodHTTP. Each reading is one POST of a form, as mappers of KubeEdge
// send it, with the device and exact time besides:
//
//	PROPERTY=VALUE&time=2006-01-02 15:04:05&device=NAMESPACE/NAME&timestamp=MILLISECONDS
//
// The secret "authorization", if there is one, is the header Authorization. A status of 4xx,
// other than 401, 403, 404, 408, 425 and 429, refuses the reading.
func HTTP(target schema.PushMethod, secret Secret) (Sink, error) {
	h := target.HTTP
	address := h.HostName
	if address == "" {
		return nil, errors.New("device/push: pushMethod.http.hostName is empty: give the server's name")
	}
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(strings.TrimSuffix(address, "/"))
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("device/push: pushMethod.http.hostName %.100q is no server: use NAME, http://NAME or https://NAME", h.HostName)
	}
	if h.Port < 0 || h.Port > 65535 {
		return nil, fmt.Errorf("device/push: pushMethod.http.port is %d: use 1 to 65535, or 0 for the usual one", h.Port)
	}
	if h.Port > 0 {
		u.Host = net.JoinHostPort(u.Hostname(), strconv.FormatInt(h.Port, 10))
	}
	full := u.String()
	if h.RequestPath != "" {
		full += "/" + strings.TrimPrefix(h.RequestPath, "/")
	}
	return &httpSink{url: full, authorization: secret(MethodHTTP, "authorization"), client: newClient(time.Duration(h.Timeout) * time.Millisecond)}, nil
}

// newClient makes a client that follows no redirects: a POST would become a GET.
func newClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout: max(timeout, 0), Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConns: 2, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

type httpSink struct {
	url           string
	authorization string
	client        *http.Client
}

func (s *httpSink) Write(ctx context.Context, readings []Reading) (int, error) {
	for i, r := range readings {
		form := url.QueryEscape(r.Property) + "=" + url.QueryEscape(r.Value) + "&time=" + url.QueryEscape(r.At().Format(time.DateTime)) +
			"&device=" + url.QueryEscape(r.Device) + "&timestamp=" + strconv.FormatInt(r.Time, 10)
		if err := post(ctx, s.client, s.url, "application/x-www-form-urlencoded", s.authorization, form); err != nil {
			return i, err
		}
	}
	return len(readings), nil
}

func (s *httpSink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// post posts a body, and turns the status into an error.
func post(ctx context.Context, client *http.Client, address, contentType, authorization, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("device/push: %w", err)
	}
	r.Header.Set("Content-Type", contentType)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	answer, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("device/push: %w", err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // the status says all
	switch code := answer.StatusCode; {
	case code/100 == 2:
		return nil
	case code/100 == 4 && code != 401 && code != 403 && code != 404 && code != 408 && code != 425 && code != 429:
		return fmt.Errorf("%w: status %s", ErrRefused, answer.Status)
	}
	return fmt.Errorf("device/push: status %s", answer.Status)
}
