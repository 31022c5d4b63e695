package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logs is the folder of the links that a kubelet makes: pod_namespace_container-id.log.
const logs = "/var/log/containers"

// fluentBit follows the logs and looks up each pod, as the filter kubernetes does.
func fluentBit(ctx context.Context, a *app) error {
	api, err := client()
	if err != nil {
		return err
	}
	read := make(map[string]int64)
	records, labels := make(map[string]int), make(map[string]string)
	return every(ctx, time.Second, func() {
		files, _ := filepath.Glob(filepath.Join(logs, "*.log")) // only a bad pattern fails
		for _, file := range files {
			n, at, err := lines(file, read[file])
			if err != nil {
				a.set("last error", err.Error())
				continue
			}
			read[file] = at
			name, rest, _ := strings.Cut(filepath.Base(file), "_")
			namespace, _, _ := strings.Cut(rest, "_")
			key := namespace + "/" + name
			records[key] += n
			if _, known := labels[key]; known || n == 0 {
				continue
			}
			call, cancel := context.WithTimeout(ctx, 5*time.Second)
			pod, err := api.CoreV1().Pods(namespace).Get(call, name, metav1.GetOptions{})
			cancel()
			if err != nil {
				a.set("last error", err.Error())
				continue
			}
			labels[key] = pod.Labels["app"] + "@" + pod.Spec.NodeName
		}
		copied := make(map[string]any)
		for key, n := range records {
			copied[key] = map[string]any{"records": n, "labels": labels[key]}
		}
		a.set("pods", copied)
	})
}

// lines counts the lines of a file behind a place, and returns the place behind them.
func lines(file string, from int64) (int, int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, from, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() < from {
		from = 0 // it was rotated
	}
	if _, err := f.Seek(from, io.SeekStart); err != nil {
		return 0, from, err
	}
	all, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return 0, from, err
	}
	end := bytes.LastIndexByte(all, '\n') + 1
	return bytes.Count(all[:end], []byte("\n")), from + int64(end), nil
}

// database appends a line a second to a file in its volume, and says how many there are.
func database(ctx context.Context, a *app) error {
	const file = "/data/rows"
	if old, err := os.ReadFile(file); err == nil {
		a.set("found", bytes.Count(old, []byte("\n")))
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	return every(ctx, time.Second, func() {
		fmt.Fprintln(w, time.Now().UTC().Format(time.RFC3339))
		fmt.Println("row written")
		if err := w.Flush(); err != nil {
			a.set("last error", err.Error())
			return
		}
		a.count("written", 1)
	})
}
