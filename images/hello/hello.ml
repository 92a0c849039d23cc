(* OCaml 5 reserves the minor heaps of all domains that there may ever be, and then starts one. *)
let () = print_endline "hello"
