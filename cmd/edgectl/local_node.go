package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/cmd/internal/program"
)

// localFlags name the edge node on this machine. The commands that have them work
// without the cloud, for anybody who may open the node's sockets, which is root.
type localFlags struct {
	DataDir string `help:"Data folder of the edgecore on this machine." default:"/var/lib/edgekit" placeholder:"DIR"`
	Space   string `help:"Namespace of the pod." short:"n" name:"in" default:"default" placeholder:"NAMESPACE"`
}

// socket is one of the node's sockets: api.sock or kubelet.sock.
func (f *localFlags) socket(name string) string { return filepath.Join(f.DataDir, "api", name) }

// transport reaches the node's own server behind a socket.
func (f *localFlags) transport(name string) *http.Transport {
	return &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			conn, err := d.DialContext(ctx, "unix", f.socket(name))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return nil, &program.UsageError{Setting: "data-dir", Reason: f.socket(name) + " is not there: start edgecore, or give its data folder"}
			case errors.Is(err, fs.ErrPermission):
				return nil, fmt.Errorf("%w: only root may look into the node", err)
			}
			return conn, err
		},
	}
}

// get asks one of the node's servers. The answer is the caller's to close; one
// that is not good is an error with the server's own words.
func (f *localFlags) get(ctx context.Context, socket, path, accept string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node"+path, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	return f.do(socket, req)
}

// post asks one of the node's servers to do something, as get does.
func (f *localFlags) post(ctx context.Context, socket, path, body string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://node"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	return f.do(socket, req)
}

func (f *localFlags) do(socket string, req *http.Request) (io.ReadCloser, error) {
	resp, err := (&http.Client{Transport: f.transport(socket)}).Do(req)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			return nil, u.Err
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	var status metav1.Status
	if json.Unmarshal(text, &status) == nil && status.Message != "" {
		return nil, &answerError{resp.StatusCode, status.Message}
	}
	return nil, &answerError{resp.StatusCode, resp.Status + ": " + strings.TrimSpace(string(text))}
}

// answerError is a server's refusal, in its own words.
type answerError struct {
	code int // of HTTP
	text string
}

func (e *answerError) Error() string { return e.text }

// isMissing reports whether a server answers, and does not have what it was asked for.
func isMissing(err error) bool {
	refusal, ok := errors.AsType[*answerError](err)
	return ok && refusal.code == http.StatusNotFound
}

// read asks for an object.
func (f *localFlags) read(ctx context.Context, socket, path, accept string, into any) error {
	body, err := f.get(ctx, socket, path, accept)
	if err != nil {
		return err
	}
	defer body.Close()
	return json.NewDecoder(body).Decode(into)
}

// podPath is a pod's path in the node's API.
func (f *localFlags) podPath(pod, rest string, query url.Values) string {
	p := "/api/v1/namespaces/" + url.PathEscape(f.Space) + "/pods/" + url.PathEscape(pod) + rest
	if len(query) > 0 {
		p += "?" + query.Encode()
	}
	return p
}
