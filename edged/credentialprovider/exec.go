package credentialprovider

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/edgekit/edgekit/meta/jsonlimit"
)

const (
	runTimeout = time.Minute // of a program, as the kubelet has it
	maxOutput  = 1 << 20     // bytes of its answer
	maxMessage = 1 << 10     // bytes of its standard error that go into an error
)

// request is a CredentialProviderRequest.
type request struct {
	Kind                      string            `json:"kind"`
	APIVersion                string            `json:"apiVersion"`
	Image                     string            `json:"image"`
	ServiceAccountToken       string            `json:"serviceAccountToken,omitempty"`
	ServiceAccountAnnotations map[string]string `json:"serviceAccountAnnotations,omitempty"`
}

// response is a CredentialProviderResponse.
type response struct {
	Kind          string           `json:"kind"`
	APIVersion    string           `json:"apiVersion"`
	CacheKeyType  string           `json:"cacheKeyType"`
	CacheDuration *metav1.Duration `json:"cacheDuration"`
	Auth          map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// cacheKeyTypes are the scopes of an answer, in the order of scopes.
func cacheKeyTypes() []string { return []string{"Image", "Registry", "Global"} }

// exec runs the program of a provider once.
func (p *provider) exec(ctx context.Context, r request) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	input, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, p.program, p.Args...)
	cmd.Env = os.Environ()
	for _, v := range p.Env {
		cmd.Env = append(cmd.Env, v.Name+"="+v.Value)
	}
	endWithHelpers(cmd)
	cmd.WaitDelay = 5 * time.Second // what it started may hold its output open
	out, message := &bounded{limit: maxOutput, fails: true}, &bounded{limit: maxMessage}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, message
	if err := cmd.Run(); err != nil {
		switch {
		case out.over:
			err = fmt.Errorf("it answered more than %d bytes", maxOutput)
		case errors.Is(ctx.Err(), context.DeadlineExceeded):
			err = fmt.Errorf("it did not end within %s", runTimeout)
		}
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(message.text.String()))
	}
	return parseResponse(out.text.Bytes(), p.APIVersion)
}

// parseResponse reads an answer. Its errors never have the answer's text: that may hold
// credentials.
func parseResponse(text []byte, apiVersion string) (*response, error) {
	var got response
	if err := jsonlimit.Unmarshal(text, &got); err != nil {
		return nil, errors.New("its answer is not the JSON of a CredentialProviderResponse")
	}
	switch {
	case got.Kind != "CredentialProviderResponse":
		return nil, errors.New("the kind of its answer is not CredentialProviderResponse")
	case got.APIVersion != apiVersion:
		return nil, fmt.Errorf("the apiVersion of its answer is not %s, as the configuration says", apiVersion)
	case !slices.Contains(cacheKeyTypes(), got.CacheKeyType):
		return nil, fmt.Errorf("the cacheKeyType of its answer is none of %s", strings.Join(cacheKeyTypes(), ", "))
	}
	return &got, nil
}

// bounded keeps the first bytes that are written to it. The rest is dropped, or an error
// if it fails.
type bounded struct {
	text        bytes.Buffer // not embedded: io.Copy would use its ReadFrom
	limit       int
	fails, over bool
}

// Write takes what there is room for.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.limit - b.text.Len()
	if len(p) <= room {
		return b.text.Write(p)
	}
	b.over = true
	b.text.Write(p[:max(room, 0)])
	if b.fails {
		return 0, errors.New("the output is too long")
	}
	return len(p), nil
}
