//! Promises that MariaDB and MySQL both keep.

/// A test per server of each of these, which are told which one it is; skipped, and said to be, where that is left out.
macro_rules! of_both {
    (@ $flavour:ident: $($promise:ident),+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                let flavour = headwater_testkit::Flavour::$flavour;
                if !flavour.is_left_out() {
                    super::$promise(flavour).await;
                }
            }
        )+
    };
    ($($promise:ident),+ $(,)?) => {
        mod mariadb {
            of_both!(@ MariaDb: $($promise),+);
        }
        mod mysql {
            of_both!(@ MySql: $($promise),+);
        }
    };
}
