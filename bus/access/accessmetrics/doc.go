// Package accessmetrics exports to Prometheus what package access refuses: logins at the MQTT
// broker, and actions of clients on topics.
//
// What to alert on: a rate of edgekit_mqtt_logins_refused_total{reason="password"} or
// {reason="limit"} means that somebody guesses passwords.
package accessmetrics
