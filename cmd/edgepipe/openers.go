package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/extra"
	"github.com/edgekit/edgekit/bus/pipeline/sinks"
	"github.com/edgekit/edgekit/bus/pipeline/sources"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// openers make the sources and sinks of all kinds.
func openers() pipeline.Openers {
	return pipeline.Openers{Source: sources.Open, Sink: extra.Open(sinks.Open)}
}

// addSources adds what sources need besides MQTT and twins.
func (p *parts) addSources(s *wire.Set, log *slog.Logger) error {
	if s.Listen != "" {
		h, err := sources.NewHTTP(sources.HTTPConfig{Address: s.Listen, Logger: log.With("component", "http")})
		if err != nil {
			return err
		}
		p.env.HTTP = h
		p.runs = append(p.runs, h.Run)
	}
	if s.Logs == "" {
		return nil
	}
	cfg := sources.PodLogsConfig{Folder: s.Logs, Logger: log.With("component", "logs")}
	if s.API != "" {
		cfg.Labels = podLabels(socketClient(s.API))
	}
	logs, err := sources.NewPodLogs(cfg)
	if err != nil {
		return err
	}
	p.env.Logs = scopedLogs{logs: logs}
	return nil
}

// maxPod is the largest Pod in bytes.
const maxPod = 4 << 20

// podLabels asks the node's own API for the labels of a pod.
func podLabels(client *http.Client) func(ctx context.Context, namespace, pod, uid string) (map[string]string, error) {
	return func(ctx context.Context, namespace, pod, uid string) (map[string]string, error) {
		ctx, cancel := context.WithTimeout(ctx, answerTimeout)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edgecore/api/v1/namespaces/"+url.PathEscape(namespace)+"/pods/"+url.PathEscape(pod), nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("pod %s/%s: the node's own API answered %s", namespace, pod, resp.Status)
		}
		var v struct {
			Metadata struct {
				UID    string            `json:"uid"`
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		}
		if err := json.NewDecoder(io.LimitReader(resp.Body, maxPod)).Decode(&v); err != nil {
			return nil, err
		}
		if v.Metadata.UID != uid {
			return nil, fmt.Errorf("pod %s/%s with uid %s is gone", namespace, pod, uid)
		}
		return v.Metadata.Labels, nil
	}
}

// scopedLogs are the logs of the pods of one namespace.
type scopedLogs struct {
	logs      *sources.PodLogs
	namespace string
	places    string // the pipeline's folder for places in files
}

// At returns the same logs with a folder for places.
func (l scopedLogs) At(folder string) pipeline.ContainerLogs {
	l.places = folder
	return l
}

// Follow refuses pods of other namespaces.
func (l scopedLogs) Follow(ctx context.Context, name string, which v1alpha1.ContainerLogsSource, handle func(ctx context.Context, l pipeline.LogLine, done func()) error) error {
	if which.Namespace == "" {
		which.Namespace = l.namespace
	}
	if which.Namespace != l.namespace {
		return fmt.Errorf("containerLogs.namespace: %.63q is another namespace: a Pipeline has the logs of pods in its own", which.Namespace)
	}
	return l.logs.At(l.places).Follow(ctx, name, which, handle)
}
