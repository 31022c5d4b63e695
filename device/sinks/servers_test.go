package sinks_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"github.com/edgekit/edgekit/device"
	"github.com/edgekit/edgekit/device/devicetest"
	"github.com/edgekit/edgekit/device/push"
	"github.com/edgekit/edgekit/device/sinks"
	"github.com/edgekit/edgekit/device/v1beta1/schema"
	"github.com/edgekit/edgekit/meta/memstore"
)

// program finds a program of Debian's, or skips the test.
func program(t *testing.T, name, pkg string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path := filepath.Join(dir, name); isFile(path) {
			return path
		}
	}
	t.Skipf("%s is not installed: apt-get install %s", name, pkg)
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// folder makes a folder whose name is short enough for a socket in it.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sinks")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// serve starts a server, and kills it at stop or when the test ends.
func serve(t *testing.T, path string, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = t.Output(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}
	t.Cleanup(stop)
	return stop
}

// until waits until ok returns nil, which it asks again and again.
func until(t *testing.T, ok func() error) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(2 * time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not in time: %v", err)
		}
	}
}

func startRedis(t *testing.T, dir string) (stop func(), client *redis.Client) {
	t.Helper()
	path := program(t, "redis-server", "redis-server")
	socket := filepath.Join(dir, "redis.sock")
	stop = serve(t, path, "--port", "0", "--unixsocket", socket, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--requirepass", "redis's password")
	client = redis.NewClient(&redis.Options{Addr: socket, Password: "redis's password", MaxRetries: -1})
	t.Cleanup(func() { client.Close() })
	until(t, func() error { return client.Ping(t.Context()).Err() })
	return stop, client
}

func redisTarget(dir string) *schema.PushMethod {
	return &schema.PushMethod{DB: &schema.PushDB{Redis: &schema.PushRedis{Client: &schema.RedisClientConfig{Addr: filepath.Join(dir, "redis.sock"), PoolSize: 1}}}}
}

func redisSecret(_, name string) string {
	if name == "password" {
		return "redis's password"
	}
	return ""
}

// TestRedis has a Pusher write to a real Redis, which is killed meanwhile: all readings arrive
// once, in order.
func TestRedis(t *testing.T) {
	dir := folder(t)
	stop, client := startRedis(t, dir)
	link := devicetest.NewLink(device.Instance{ID: "plant/boiler", Spec: schema.DeviceSpec{Properties: []schema.Property{{Name: "temperature", PushMethod: redisTarget(dir)}}}})
	now := time.UnixMilli(1760000000000)
	p, err := push.New(push.Config{Link: link, Store: memstore.New(), Open: sinks.All(), Secret: redisSecret, Backoff: time.Millisecond, Now: func() time.Time {
		now = now.Add(time.Second)
		return now
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended, known := make(chan error, 1), make(chan struct{})
	go func() { ended <- p.Watch(ctx, func([]device.Instance) { close(known) }) }()
	<-known
	report := func(from, to int) {
		for i := from; i < to; i++ {
			if err := p.Report(t.Context(), "plant/boiler", map[string]string{"temperature": fmt.Sprint(i)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := func() []string {
		members, err := client.ZRange(t.Context(), "plant/boiler", 0, -1).Result()
		if err != nil {
			return []string{err.Error()}
		}
		var values []string
		for _, m := range members {
			var r push.Reading
			if err := json.Unmarshal([]byte(m), &r); err != nil {
				t.Error(err)
			}
			values = append(values, r.Value)
		}
		return values
	}
	report(0, 50)
	until(t, func() error {
		if n := len(got()); n != 50 {
			return fmt.Errorf("%d readings", n)
		}
		return nil
	})
	stop()
	report(50, 300)
	_, client = startRedis(t, dir)
	until(t, func() error {
		if n := len(got()); n != 300 {
			return fmt.Errorf("%d readings", n)
		}
		return nil
	})
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprint(i))
	}
	if values := got(); !slices.Equal(values, want) {
		t.Errorf("the order is %v", values)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Sent != 300 || s.Dropped+s.Lost+s.Refused+s.Waiting != 0 {
		t.Errorf("stats are %+v", s)
	}
}

// TestRedisPassword has a wrong password: an error that may pass and does not name it.
func TestRedisPassword(t *testing.T) {
	dir := folder(t)
	startRedis(t, dir)
	s, err := sinks.Redis(*redisTarget(dir), func(_, name string) string {
		if name == "password" {
			return "wrong one"
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if n, err := s.Write(t.Context(), []push.Reading{reading("a", "1", "", 0)}); n != 0 || err == nil || errors.Is(err, push.ErrRefused) || strings.Contains(err.Error(), "wrong one") {
		t.Errorf("got %d, %v", n, err)
	}
}

// TestMySQL writes to a real MariaDB.
func TestMySQL(t *testing.T) {
	install := program(t, "mariadb-install-db", "mariadb-server")
	path := program(t, "mariadbd", "mariadb-server")
	dir := folder(t)
	socket, data := filepath.Join(dir, "m.sock"), filepath.Join(dir, "data")
	user := []string{}
	if os.Getuid() == 0 {
		user = append(user, "--user=root")
	}
	out, err := exec.Command(install, append(user, "--no-defaults", "--datadir="+data, "--auth-root-authentication-method=normal", "--skip-test-db")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	serve(t, path, append([]string{"--no-defaults", "--datadir=" + data, "--socket=" + socket, "--skip-networking", "--innodb-buffer-pool-size=8M", "--pid-file=" + filepath.Join(dir, "pid")}, user...)...)
	cfg := mysql.NewConfig()
	cfg.Net, cfg.Addr, cfg.User, cfg.ParseTime = "unix", socket, "root", true
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	until(t, func() error { return db.PingContext(t.Context()) })
	for _, statement := range []string{"CREATE DATABASE plant", "CREATE USER pusher IDENTIFIED BY 'secret'", "GRANT ALL ON plant.* TO pusher"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	target := schema.PushMethod{DB: &schema.PushDB{MySQL: &schema.PushMySQL{Client: &schema.MySQLClientConfig{Addr: socket, Database: "plant", UserName: "pusher"}}}}
	s, err := sinks.MySQL(target, func(string, string) string { return "secret" })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	long := strings.Repeat("x", 100)
	n, err := s.Write(t.Context(), []push.Reading{reading("temperature", "21", "", 123), reading("odd`; DROP", "it's \\", "", 1), reading(long, "1", "", 2)})
	if n != 2 || err == nil {
		t.Errorf("got %d, %v, want 2 and an error", n, err)
	}
	if n, err = s.Write(t.Context(), []push.Reading{reading(long, "1", "", 2)}); n != 0 || !errors.Is(err, push.ErrRefused) {
		t.Errorf("a name that is too long: got %d, %v", n, err)
	}
	for table, want := range map[string]string{"`plant/boiler/temperature`": "21", "`plant/boiler/odd``; DROP`": `it's \`} {
		var at time.Time
		var value string
		if err := db.QueryRowContext(t.Context(), "SELECT ts, field FROM plant."+table).Scan(&at, &value); err != nil || value != want || at.UnixMilli()/1000 != 1760000000 {
			t.Errorf("%s: got %v %q, %v", table, at, value, err)
		}
	}
	if _, err := db.ExecContext(t.Context(), "DROP TABLE plant.`plant/boiler/temperature`"); err != nil {
		t.Fatal(err)
	}
	until(t, func() error { // the table is made again
		_, err := s.Write(t.Context(), []push.Reading{reading("temperature", "22", "", 3)})
		return err
	})
	wrong, err := sinks.MySQL(target, func(string, string) string { return "wrong one" })
	if err != nil {
		t.Fatal(err)
	}
	defer wrong.Close()
	if n, err := wrong.Write(t.Context(), []push.Reading{reading("a", "1", "", 0)}); n != 0 || err == nil || errors.Is(err, push.ErrRefused) || strings.Contains(err.Error(), "wrong one") {
		t.Errorf("a wrong password: got %d, %v", n, err)
	}
}
