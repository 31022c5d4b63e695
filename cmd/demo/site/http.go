package site

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// From says where a request starts.
type From int

// The places a request can start from.
const (
	FromHost From = iota // over the cable, through the node
	FromNode             // inside the node's network
)

// Fetch gets a page from a pod by its address and returns the body.
func (s *Site) Fetch(ctx context.Context, from From, podIP, path string) (string, error) {
	dial := new(net.Dialer).DialContext
	if from == FromNode {
		dial = s.Network().DialContext
	}
	client := &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
	url := "http://" + net.JoinHostPort(podIP, "8080") + path
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("site: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("site: %s: %w", url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("site: %s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}
