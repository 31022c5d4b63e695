package nodeapi

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"strings"

	"golang.org/x/sync/semaphore"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/edgekit/edgekit/controller/internal/impersonate"
	nodesync "github.com/edgekit/edgekit/controller/internal/sync"
	"github.com/edgekit/edgekit/hub"
	"github.com/edgekit/edgekit/meta/apiserver/wire"
	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	maxRequest = 3<<20 + 128<<10 // what a node's API takes, with its head
	maxAnswer  = 3 << 20         // so that it fits a frame of the link
	maxAnswers = 32 * maxAnswer  // of all nodes, while they are read
)

// httpDoer is an http.Client.
type httpDoer interface {
	Do(req *http.Request) (*http.Response, error)
}

// forwarder makes requests of the API server.
type forwarder struct {
	base       *url.URL
	anonymous  httpDoer // has no credentials
	nodeClient httpDoer // acts as the node of the request's context
	// memory bounds the answers of the API server that are being read; a request
	// waits for its part until its caller's deadline.
	memory *semaphore.Weighted
	log    *slog.Logger
}

func newForwarder(cfg Config) (forwarder, error) {
	f := forwarder{memory: semaphore.NewWeighted(maxAnswers), log: cfg.Logger}
	var err error
	if f.base, _, err = rest.DefaultServerUrlFor(cfg.REST); err != nil {
		return f, fmt.Errorf("nodeapi: %w", err)
	}
	// cloudcore's own certificate must not be shown: the API server would
	// believe it before the token.
	anonymous := rest.AnonymousClientConfig(cfg.REST)
	anonymous.QPS = -1
	if f.anonymous, err = impersonate.HTTPClient(anonymous); err != nil {
		return f, fmt.Errorf("nodeapi: %w", err)
	}
	client, ok := cfg.NodeClient.CoreV1().RESTClient().(*rest.RESTClient)
	if !ok || client == nil || client.Client == nil {
		return f, errors.New("nodeapi: Config.NodeClient is not a client for an API server")
	}
	f.nodeClient = client.Client
	return f, nil
}

// call answers one request of a node.
func (c *Controller) call(ctx context.Context, req hub.Request) (hub.Message, error) {
	key := req.Message.Key
	if c.forward.base == nil {
		return hub.Message{}, &hub.Error{Code: hub.CodeUnavailable, Text: "this cloudcore has no API server to ask"}
	}
	if len(req.Message.Body) > maxRequest {
		return hub.Message{}, nodesync.Invalid(key, fmt.Errorf("body has %d bytes, the limit is %d", len(req.Message.Body), maxRequest))
	}
	want, err := wire.DecodeRequest(req.Message.Body)
	if err != nil {
		return hub.Message{}, nodesync.Invalid(key, err)
	}
	if err := checkRequest(req.Node, want); err != nil {
		return hub.Message{}, nodesync.Forbidden(key, err.Error())
	}
	client := c.forward.nodeClient
	if want.Token == "" {
		ctx = impersonate.With(ctx, req.Node)
	} else {
		if err := c.checkToken(ctx, req.Node, want.Token); err != nil {
			return hub.Message{}, err
		}
		client = c.forward.anonymous
	}
	answer, err := c.forward.do(ctx, client, want)
	if err != nil {
		c.cfg.Logger.Debug("a node's request for the API server failed", "node", req.Node, "path", want.Path, "err", err)
		return hub.Message{}, err
	}
	body, err := answer.Encode()
	if err != nil {
		return hub.Message{}, err
	}
	return hub.Message{Body: body}, nil
}

// do makes the request. Only the fields of wire.Request reach the API server: the node cannot
// choose any header.
func (f forwarder) do(ctx context.Context, client httpDoer, want wire.Request) (wire.Response, error) {
	to := *f.base
	to.Path = path.Join("/", to.Path, want.Path)
	to.RawQuery = want.Query
	req, err := http.NewRequestWithContext(ctx, want.Method, to.String(), bytes.NewReader(want.Body))
	if err != nil {
		return wire.Response{}, &hub.Error{Code: hub.CodeInvalid, Text: err.Error()}
	}
	for header, value := range map[string]string{"Content-Type": want.ContentType, "Accept": want.Accept} {
		if value != "" {
			req.Header.Set(header, value)
		}
	}
	if want.Token != "" {
		req.Header.Set("Authorization", "Bearer "+want.Token)
	}
	resp, err := client.Do(req)
	if err != nil {
		f.log.Warn("a node's request did not reach the API server", "err", err)
		return wire.Response{}, &hub.Error{Code: hub.CodeUnavailable, Text: "the API server cannot be reached: cloudcore's log says why"}
	}
	defer resp.Body.Close()
	body, err := f.readAnswer(ctx, resp)
	if err != nil {
		return wire.Response{}, err
	}
	if resp.StatusCode >= 300 && resp.StatusCode < 400 {
		// A redirect is not followed, with or without credentials, and the node
		// does not learn its target.
		return wire.Response{}, &hub.Error{Code: hub.CodeForbidden, Text: "the API server answered with a redirect, and redirects are not followed"}
	}
	return wire.Response{Code: resp.StatusCode, ContentType: resp.Header.Get("Content-Type"), Warnings: resp.Header.Values("Warning"), Body: body}, nil
}

// readAnswer reads an answer of the API server and refuses one that is too large,
// by its Content-Length or by its bytes. The buffer doubles as bytes arrive.
func (f forwarder) readAnswer(ctx context.Context, resp *http.Response) ([]byte, error) {
	tooLarge := &hub.Error{Code: hub.CodeInvalid, Text: fmt.Sprintf("the answer has more than %d bytes: ask for less, for example with a limit", maxAnswer)}
	if resp.ContentLength > maxAnswer {
		return nil, tooLarge
	}
	room := resp.ContentLength
	if room < 0 {
		room = maxAnswer
	}
	if f.memory.Acquire(ctx, room) != nil {
		return nil, &hub.Error{Code: hub.CodeUnavailable, Text: "the answers to other nodes use all the memory for answers: try again later"}
	}
	defer f.memory.Release(room)
	var body bytes.Buffer
	if _, err := body.ReadFrom(io.LimitReader(resp.Body, maxAnswer+1)); err != nil {
		return nil, &hub.Error{Code: hub.CodeUnavailable, Text: "the API server's answer was cut off"}
	}
	if body.Len() > maxAnswer {
		return nil, tooLarge
	}
	return body.Bytes(), nil
}

// unreachable is the error of a request that got no answer: its text, which the
// node sees, does not reveal the address of the API server.
func unreachable(err error) error {
	return fmt.Errorf("nodeapi: %w (%w)", &hub.Error{Code: hub.CodeUnavailable, Text: "the API server cannot be reached, or its answer was cut off"}, err)
}

// podClaims are a token's claims about the pod that it is bound to.
type podClaims struct {
	Namespace string `json:"namespace"`
	Pod       struct {
		Name string `json:"name"`
		UID  string `json:"uid"`
	} `json:"pod"`
}

// claimsOf reads the claims of a token that is not verified yet.
func claimsOf(token string) (podClaims, error) {
	var claims struct {
		Kubernetes podClaims `json:"kubernetes.io"`
	}
	_, rest, _ := strings.Cut(token, ".")
	middle, _, _ := strings.Cut(rest, ".")
	payload, err := base64.RawURLEncoding.DecodeString(middle)
	if err == nil {
		err = jsonlimit.Unmarshal(payload, &claims)
	}
	return claims.Kubernetes, err
}

// checkToken refuses a token that is not bound to a pod on the node. The API server verifies
// its signature.
func (c *Controller) checkToken(ctx context.Context, node, token string) error {
	refuse := func(why string) error {
		return &hub.Error{Code: hub.CodeForbidden, Text: "the service account token " + why}
	}
	k, err := claimsOf(token)
	if err != nil || k.Namespace == "" || k.Pod.Name == "" || k.Pod.UID == "" {
		return refuse("is not bound to a pod")
	}
	if c.placed.has(node, k) {
		return nil
	}
	var pod *corev1.Pod
	pod, err = c.cfg.Cloud.CoreV1().Pods(k.Namespace).Get(ctx, k.Pod.Name, metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsNotFound(err):
		return refuse("is bound to a pod that is gone")
	case err != nil:
		return unreachable(err)
	case string(pod.UID) != k.Pod.UID || pod.Spec.NodeName != node:
		return refuse("is bound to a pod of another node")
	}
	c.placed.add(node, k)
	return nil
}
