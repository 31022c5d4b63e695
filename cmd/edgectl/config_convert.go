package main

type convertCmd struct{}
